// The skills extension (SEP-2640): two small skills, one of them with a folder in it. A page has one
// entry, so that a client that lists them must request the next page.

import { memorySkillFiles, SkillCatalog } from '@modelcontextprotocol/server/ext/skills';

const skill = (name, description, body) => `---\nname: ${name}\ndescription: ${description}\n---\n\n${body}\n`;

const FILES = {
    'count-llamas/SKILL.md': skill('count-llamas', 'Count the llamas in a herd', '`references/herd.md` says what a herd is.'),
    'count-llamas/references/herd.md': '# Herd\n\nTwo or more llamas.\n',
    'shear-llamas/SKILL.md': skill('shear-llamas', 'Shear a llama', 'Gently.'),
};

export const SKILLS = await SkillCatalog.load(memorySkillFiles(FILES), { pageSize: 1, strict: true });
