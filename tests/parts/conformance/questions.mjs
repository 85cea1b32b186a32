// The tools and the prompt that need an answer of the client first: of its user, its model, its roots.
//
// Each is written once, for both eras. It returns its questions and is called again with the answers; for a client of the older
// era the SDK sends them as requests on the open event stream.

import { randomBytes, randomUUID } from 'node:crypto';

import {
    acceptedContent,
    CLIENT_CAPABILITIES_META_KEY,
    createRequestStateCodec,
    inputRequired,
} from '@modelcontextprotocol/server';

import { text } from './tools.mjs';

// The state between two rounds passes through the client, so that it is encrypted. The key belongs to this process alone: another
// process refuses the state, as many real providers do.
export const SEAL = createRequestStateCodec({ key: randomBytes(32) });

const seal = (facts) => SEAL.mint({ ...facts, once: randomUUID() });

const form = (message, properties, required = Object.keys(properties)) =>
    inputRequired.elicit({ message, requestedSchema: { type: 'object', properties, required } });

const sample = (words, maxTokens) =>
    inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: words } }], maxTokens });

const NAME = { name: { type: 'string' } };
const askName = () => form('What is your name?', NAME);

const answers = (ctx) => ctx.mcpReq.inputResponses ?? {};
const accepted = (ctx, key) => acceptedContent(ctx.mcpReq.inputResponses, key);
const sampled = (ctx, key) => answers(ctx)[key]?.content?.text;
const ask = (inputRequests) => inputRequired({ inputRequests });
const askAndRemember = async (inputRequests, facts) => inputRequired({ inputRequests, requestState: await seal(facts) });

const askForConfirmation = () =>
    askAndRemember({ confirm: form('Please confirm', { ok: { type: 'boolean' } }) }, { asked: 'confirm' });

// The user's reaction to a form, one of three.
const outcome = (answer) => `action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`;

const titled = (noun) =>
    ['First', 'Second', 'Third'].map((ordinal, index) => ({ const: `value${index + 1}`, title: `${ordinal} ${noun}` }));

const OPTIONS = ['option1', 'option2', 'option3'];

export const QUESTIONS = [
    {
        name: 'test_sampling',
        description: "Asks the client's model",
        input: { type: 'object', properties: { prompt: { type: 'string' } }, required: ['prompt'] },
        call({ prompt }, ctx) {
            const answer = sampled(ctx, 'answer');
            return answer === undefined ? ask({ answer: sample(prompt, 100) }) : text(`LLM response: ${answer}`);
        },
    },
    {
        name: 'test_elicitation',
        description: 'Asks the user for a name and an address',
        input: { type: 'object', properties: { message: { type: 'string' } }, required: ['message'] },
        call({ message }, ctx) {
            const { answer } = answers(ctx);
            if (answer !== undefined) return text(`User response: ${outcome(answer)}`);
            const fields = {
                username: { type: 'string', description: "User's response" },
                email: { type: 'string', description: "User's email address" },
            };
            return ask({ answer: form(message, fields) });
        },
    },
    {
        name: 'test_elicitation_sep1034_defaults',
        description: 'Asks the user with a form that has a default for every type of field',
        call(_args, ctx) {
            const { answer } = answers(ctx);
            if (answer !== undefined) return text(`Elicitation completed: ${outcome(answer)}`);
            const fields = {
                name: { type: 'string', default: 'John Doe' },
                age: { type: 'integer', default: 30 },
                score: { type: 'number', default: 95.5 },
                status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
                verified: { type: 'boolean', default: true },
            };
            return ask({ answer: form('Change what is not right', fields, []) });
        },
    },
    {
        name: 'test_elicitation_sep1330_enums',
        description: 'Asks the user with a form that has every kind of choice',
        call(_args, ctx) {
            const { answer } = answers(ctx);
            if (answer !== undefined) return text(`Elicitation completed: ${outcome(answer)}`);
            const fields = {
                untitledSingle: { type: 'string', enum: OPTIONS },
                titledSingle: { type: 'string', oneOf: titled('Option') },
                legacyEnum: {
                    type: 'string',
                    enum: ['opt1', 'opt2', 'opt3'],
                    enumNames: ['Option One', 'Option Two', 'Option Three'],
                },
                untitledMulti: { type: 'array', items: { type: 'string', enum: OPTIONS } },
                titledMulti: { type: 'array', items: { anyOf: titled('Choice') } },
            };
            return ask({ answer: form('Choose', fields, []) });
        },
    },
    {
        name: 'test_missing_capability',
        description: 'Cannot work without a client that has a model',
        call(_args, ctx) {
            const answer = sampled(ctx, 'word');
            return answer === undefined ? ask({ word: sample('Say one word', 16) }) : text(`the word is ${answer}`);
        },
    },
    {
        name: 'test_input_required_result_elicitation',
        description: "Asks for the user's name",
        call(_args, ctx) {
            const name = accepted(ctx, 'user_name')?.name;
            return typeof name === 'string' ? text(`Hello, ${name}!`) : ask({ user_name: askName() });
        },
    },
    {
        name: 'test_input_required_result_sampling',
        description: "Asks the client's model for a capital",
        call(_args, ctx) {
            const answer = sampled(ctx, 'capital_question');
            if (answer !== undefined) return text(`the model says: ${answer}`);
            return ask({ capital_question: sample('What is the capital of France?', 100) });
        },
    },
    {
        name: 'test_input_required_result_list_roots',
        description: "Asks for the client's roots",
        call(_args, ctx) {
            const roots = answers(ctx).client_roots?.roots;
            if (!Array.isArray(roots)) return ask({ client_roots: inputRequired.listRoots() });
            return text(`the roots are ${roots.map((root) => root.uri).join(' ')}`);
        },
    },
    {
        name: 'test_input_required_result_request_state',
        description: 'Asks, and knows the question again by its state',
        async call(_args, ctx) {
            if (accepted(ctx, 'confirm') === undefined) return askForConfirmation();
            const state = ctx.mcpReq.requestState();
            if (state?.asked !== 'confirm') throw new Error('an answer to a question that was not asked');
            return text('state-ok');
        },
    },
    {
        name: 'test_input_required_result_tampered_state',
        description: 'Asks, and refuses a state that is not the one it gave',
        async call(_args, ctx) {
            const known = ctx.mcpReq.requestState() !== undefined && accepted(ctx, 'confirm') !== undefined;
            return known ? text('the state is as it was given') : askForConfirmation();
        },
    },
    {
        name: 'test_input_required_result_multiple_inputs',
        description: 'Asks the user, the model and the client at once',
        async call(_args, ctx) {
            const name = accepted(ctx, 'user_name')?.name;
            const greeting = sampled(ctx, 'greeting');
            const roots = answers(ctx).client_roots?.roots;
            if (name !== undefined && greeting !== undefined && roots !== undefined) {
                return text(`${greeting} ${name}, you have ${roots.length} roots`);
            }
            const questions = {
                user_name: askName(),
                greeting: sample('Generate a greeting', 50),
                client_roots: inputRequired.listRoots(),
            };
            return askAndRemember(questions, { asked: 'all' });
        },
    },
    {
        name: 'test_input_required_result_multi_round',
        description: 'Asks twice, one question after the other',
        async call(_args, ctx) {
            const { round = 0, name } = ctx.mcpReq.requestState() ?? {};
            if (round === 0) return askAndRemember({ step1: form('Step 1: What is your name?', NAME) }, { round: 1 });
            if (round === 1) {
                const step2 = form('Step 2: What is your favorite color?', { color: { type: 'string' } });
                return askAndRemember({ step2 }, { round: 2, name: accepted(ctx, 'step1')?.name });
            }
            return text(`${name} likes ${accepted(ctx, 'step2')?.color}`);
        },
    },
    {
        name: 'test_input_required_result_capabilities',
        description: 'Asks only what the client says it can answer',
        call(_args, ctx) {
            if (ctx.mcpReq.inputResponses !== undefined) return text('asked what could be asked');
            const can = ctx.mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
            const questions = {
                ...(can.elicitation && { user_name: askName() }),
                ...(can.sampling && { greeting: sample('Generate a greeting', 50) }),
                ...(can.roots && { client_roots: inputRequired.listRoots() }),
            };
            return Object.keys(questions).length > 0 ? ask(questions) : text('nothing can be asked');
        },
    },
];

export const QUESTION_PROMPT = {
    name: 'test_input_required_result_prompt',
    description: 'Asks for a context before it is a prompt',
    get(_args, ctx) {
        const context = accepted(ctx, 'user_context')?.context;
        if (context === undefined) {
            return ask({ user_context: form('What context should the prompt use?', { context: { type: 'string' } }) });
        }
        return { messages: [{ role: 'user', content: { type: 'text', text: `The context is: ${context}` } }] };
    },
};
