// OpenAI's, Anthropic's and Ollama's TypeScript clients: `llm.mjs SDK ACTION…`, with the environment, actions and output of `llm.py`.

import { part, saw } from './walk.mjs';

const sdk = part('openai-node-7.57.0');
const { LLAMAPOOL_URL: url, LLAMAPOOL_KEY: apiKey, LLAMAPOOL_MODEL: model } = process.env;
const messages = [{ role: 'user', content: 'Count to six.' }];
const MAX_TOKENS = 12;
const city = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'get_weather', description: 'The weather', parameters: city } }];
// What a stream has brought before it fails.
let brought = [];

// `text` returns the text of an event, if it has one; `leave` closes the stream at the first.
async function streamed(events, text, leave) {
    for await (const event of events) {
        const piece = text(event);
        if (!piece) continue;
        brought.push(piece);
        if (leave) {
            leave();
            return { text: piece };
        }
    }
    return { text: brought.join(''), events: brought.length };
}

async function ids(page) {
    const models = [];
    for await (const found of page) models.push(found.id);
    return { models };
}

function openai() {
    const { OpenAI } = sdk('openai');
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
    const asked = { model, messages, max_tokens: MAX_TOKENS, temperature: 0 };
    const text = (chunk) => chunk.choices[0]?.delta.content;
    const calls = (found) => ({
        calls: (found.choices[0].message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
    });
    return {
        list: async () => ids(await client.models.list()),
        retrieve: async () => ({ model: (await client.models.retrieve(model)).id }),
        answer: async () => {
            const found = await client.chat.completions.create(asked);
            const { prompt_tokens: input, completion_tokens: output } = found.usage;
            return { text: found.choices[0].message.content, input, output };
        },
        stream: async () => streamed(await client.chat.completions.create({ ...asked, stream: true }), text),
        leave: async () => {
            const events = await client.chat.completions.create({ ...asked, max_tokens: 2000, stream: true });
            return streamed(events, text, () => events.controller.abort());
        },
        tool: async () => calls(await client.chat.completions.create({ ...asked, tools })),
        // Unasked, this client wants base64.
        embed: async () => {
            const { data } = await client.embeddings.create({ model, input: ['a llama', 'a pool'] });
            const first = data[0].embedding.slice(0, 4).map((number) => Number(number.toFixed(5)));
            return { lengths: data.map(({ embedding }) => embedding.length), first };
        },
    };
}

function responses() {
    const { OpenAI } = sdk('openai');
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
    const asked = { model, input: messages[0].content, max_output_tokens: MAX_TOKENS, temperature: 0 };
    return {
        answer: async () => {
            const found = await client.responses.create(asked);
            return { text: found.output_text, input: found.usage.input_tokens, output: found.usage.output_tokens };
        },
        // Of its two ways, the one that takes events as they are: the other misses an index in those of llama.cpp.
        stream: async () => {
            const events = await client.responses.create({ ...asked, stream: true });
            return streamed(events, (event) => event.type === 'response.output_text.delta' && event.delta);
        },
    };
}

function anthropic() {
    const { Anthropic } = sdk('@anthropic-ai/sdk');
    const client = new Anthropic({ baseURL: url, apiKey });
    const asked = { model, messages, max_tokens: MAX_TOKENS, temperature: 0 };
    const text = (event) => event.type === 'content_block_delta' && event.delta.text;
    const calls = ({ content }) => ({
        calls: content.filter(({ type }) => type === 'tool_use').map((block) => [block.name, block.input]),
    });
    const withTools = { ...asked, tools: [{ name: 'get_weather', input_schema: city }] };
    return {
        list: async () => ids(await client.models.list()),
        retrieve: async () => ({ model: (await client.models.retrieve(model)).id }),
        answer: async () => {
            const found = await client.messages.create(asked);
            return { text: found.content[0].text, input: found.usage.input_tokens, output: found.usage.output_tokens };
        },
        stream: async () => streamed(client.messages.stream(asked), text),
        leave: async () => {
            const events = client.messages.stream({ ...asked, max_tokens: 2000 });
            return streamed(events, text, () => events.abort());
        },
        tool: async () => calls(await client.messages.create(withTools)),
        'tool-stream': async () => calls(await client.messages.stream(withTools).finalMessage()),
    };
}

function ollama() {
    const { Ollama } = sdk('ollama');
    const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${apiKey}` } });
    const asked = { model, messages, options: { num_predict: MAX_TOKENS, temperature: 0 } };
    const text = ({ message }) => message.content;
    const names = ({ models }) => ({ models: models.map((found) => found.model) });
    const calls = (found) => ({
        calls: found.flatMap(({ message }) => message.tool_calls ?? []).map((call) => [call.function.name, call.function.arguments]),
    });
    return {
        list: async () => names(await client.list()),
        resident: async () => names(await client.ps()),
        answer: async () => {
            const found = await client.chat(asked);
            return { text: text(found), input: found.prompt_eval_count, output: found.eval_count };
        },
        stream: async () => streamed(await client.chat({ ...asked, stream: true }), text),
        leave: async () => {
            const events = await client.chat({ ...asked, stream: true });
            return streamed(events, text, () => events.abort());
        },
        tool: async () => calls([await client.chat({ ...asked, tools })]),
        'tool-stream': async () => {
            const found = [];
            for await (const event of await client.chat({ ...asked, tools, stream: true })) found.push(event);
            return calls(found);
        },
        embed: async () => {
            const { embeddings } = await client.embed({ model, input: ['a llama', 'a pool'] });
            const first = embeddings[0].slice(0, 4).map((number) => Number(number.toFixed(5)));
            return { lengths: embeddings.map(({ length }) => length), first };
        },
    };
}

const [name, ...actions] = process.argv.slice(2);
const client = { openai, responses, anthropic, ollama }[name]();
for (const action of actions) {
    brought = [];
    try {
        saw(action, await client[action]());
    } catch (error) {
        const { status_code: ofOllama = null, status = ofOllama, message } = error;
        saw(action, { error: error.constructor.name, status, message, text: brought.join('') });
    }
}
