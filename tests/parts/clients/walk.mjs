// The walk of every Node client here through the tools of `conformance/provider`, and its report: line for line the output of
// `walk.py`, where it is described.
//
// The packages are those of a part in LLAMAPOOL_PARTS; `part(NAME)` is the `require` that finds them.

import { createRequire } from 'node:module';
import { join } from 'node:path';

const LIMIT_MS = 25_000;
// Tool, arguments, and the number of steps of progress.
const CALLS = [
    ['test_simple_text', {}, 0],
    ['test_tool_with_progress', {}, 3],
    ['test_sampling', { prompt: 'Say grüße 🦙' }, 0],
    ['test_elicitation', { message: 'Who are you?' }, 0],
];
// The fixed answers of the model and the user behind these clients.
const SAMPLED = { role: 'assistant', model: 'a model', content: { type: 'text', text: 'grüße 🦙' } };
const FORM = { email: 'llama@example.org', username: 'llama' };

export const part = (name) => createRequire(join(process.env.LLAMAPOOL_PARTS, name, 'package.json'));

export const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));

export function sample({ params }) {
    saw('sampling', { prompt: params.messages[0].content.text });
    return SAMPLED;
}

export function answer({ params }) {
    saw('elicitation', { message: params.message });
    return { action: 'accept', content: FORM };
}

// `listTools()` and `call(tool, arguments, onprogress)` return the result of the client: `{ tools }` and `{ content }`.
export async function walk(listTools, call) {
    const limit = setTimeout(() => {
        console.error(`not through after ${LIMIT_MS} ms`);
        process.exit(1);
    }, LIMIT_MS);
    let complete;
    let missing;
    const onprogress = ({ progress, total }) => {
        saw('progress', { done: progress, total });
        missing -= 1;
        if (missing === 0) complete.resolve();
    };
    saw('tools', { names: (await listTools()).tools.map((tool) => tool.name) });
    for (const [tool, args, steps] of JSON.parse(process.env.LLAMAPOOL_CALLS ?? 'null') ?? CALLS) {
        complete = Promise.withResolvers();
        missing = steps;
        const { content } = await call(tool, args, onprogress);
        if (steps > 0) await complete.promise;
        saw('result', { tool, text: content.map((part) => part.text).join('') });
    }
    clearTimeout(limit);
}
