// The prompts, and the completion of their arguments. Names and texts are those of the conformance suite.

import { QUESTION_PROMPT } from './questions.mjs';
import { PNG } from './samples.mjs';

const said = (content) => ({ role: 'user', content });
const words = (value) => said({ type: 'text', text: value });
const strings = (...names) => ({
    type: 'object',
    properties: Object.fromEntries(names.map((name) => [name, { type: 'string', description: `the text for ${name}` }])),
    required: names,
});

export const PROMPTS = [
    {
        name: 'test_simple_prompt',
        description: 'One sentence',
        get: () => ({ messages: [words('This is a simple prompt for testing.')] }),
    },
    {
        name: 'test_prompt_with_arguments',
        description: 'One sentence with two arguments in it',
        input: strings('arg1', 'arg2'),
        get: ({ arg1, arg2 }) => ({ messages: [words(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)] }),
    },
    {
        name: 'test_prompt_with_embedded_resource',
        description: 'A resource, and what to do with it',
        input: strings('resourceUri'),
        get: ({ resourceUri }) => ({
            messages: [
                said({
                    type: 'resource',
                    resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
                }),
                words('Please process the embedded resource above.'),
            ],
        }),
    },
    {
        name: 'test_prompt_with_image',
        description: 'An image, and what to do with it',
        get: () => ({
            messages: [said({ type: 'image', data: PNG, mimeType: 'image/png' }), words('Please analyze the image above.')],
        }),
    },
    QUESTION_PROMPT,
];

const VOCABULARY = ['alpaca', 'llama', 'test', 'tested', 'tester', 'vicuña'];

// The words that begin with the typed text.
export function complete(typed) {
    const values = VOCABULARY.filter((word) => word.startsWith(typed));
    return { completion: { values, total: values.length, hasMore: false } };
}
