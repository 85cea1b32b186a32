// The tools that answer by themselves: content of every kind, notifications during a call, errors, and triggers that notify
// subscribers of a change. Tools that ask the client are in `questions.mjs`, tools that become tasks in `tasks.mjs`.
//
// Names, arguments and texts are those of the conformance suite; texts that it leaves open are ours.
//
// A tool is `{ name, description, input, call(args, ctx, changes) }`; `input` is a JSON Schema, by default an object without
// properties. The first one is called without arguments by scenarios that need any tool.

import { setTimeout as sleep } from 'node:timers/promises';

import { PNG, WAV } from './samples.mjs';

const STEP_MS = 50;

export const text = (value) => ({ content: [{ type: 'text', text: value }] });

const embedded = (uri, mimeType, value) => ({ type: 'resource', resource: { uri, mimeType, text: value } });

export const TOOLS = [
    {
        name: 'test_simple_text',
        description: 'Answers with one text',
        call: () => text('This is a simple text response for testing.'),
    },
    {
        name: 'test_image_content',
        description: 'Answers with an image',
        call: () => ({ content: [{ type: 'image', data: PNG, mimeType: 'image/png' }] }),
    },
    {
        name: 'test_audio_content',
        description: 'Answers with a sound',
        call: () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }),
    },
    {
        name: 'test_embedded_resource',
        description: 'Answers with a resource inside the answer',
        call: () => ({
            content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
        }),
    },
    {
        name: 'test_multiple_content_types',
        description: 'Answers with a text, an image and a resource',
        call: () => ({
            content: [
                { type: 'text', text: 'Multiple content types test:' },
                { type: 'image', data: PNG, mimeType: 'image/png' },
                embedded('test://mixed-content-resource', 'application/json', JSON.stringify({ test: 'data', value: 123 })),
            ],
        }),
    },
    {
        name: 'test_error_handling',
        description: 'Fails, always',
        call() {
            throw new Error('This tool intentionally returns an error for testing');
        },
    },
    {
        name: 'test_tool_with_logging',
        description: 'Logs three times before it answers',
        async call(_args, ctx) {
            await ctx.mcpReq.log('info', 'Tool execution started');
            await sleep(STEP_MS);
            await ctx.mcpReq.log('info', 'Tool processing data');
            await sleep(STEP_MS);
            await ctx.mcpReq.log('info', 'Tool execution completed');
            return text('logged three times');
        },
    },
    {
        name: 'test_logging_tool',
        description: 'Logs once, if the request wants logs',
        async call(_args, ctx) {
            await ctx.mcpReq.log('info', 'asked for, or nobody sees this');
            return text('logged for those who asked');
        },
    },
    {
        name: 'test_tool_with_progress',
        description: 'Reports its progress, if the request wants it',
        async call(_args, ctx) {
            const progressToken = ctx.mcpReq._meta?.progressToken;
            for (const progress of [0, 50, 100]) {
                if (progress > 0) await sleep(STEP_MS);
                if (progressToken === undefined) continue;
                await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } });
            }
            return text('went from 0 to 100');
        },
    },
    {
        name: 'test_reconnection',
        description: 'Ends the event stream it was called on, and answers to whoever resumes it',
        async call(_args, ctx) {
            ctx.http?.closeSSE?.();
            await sleep(2 * STEP_MS);
            return text('answered after the stream had ended');
        },
    },
    {
        name: 'test_streaming_elicitation',
        description: 'Answers without a request to the client, which this revision does not have',
        call: () => text('no request was sent on this stream'),
    },
    {
        name: 'test_x_mcp_header',
        description: 'Has arguments that are repeated in headers',
        input: {
            type: 'object',
            properties: {
                region: { type: 'string', description: 'also in Mcp-Param-Region', 'x-mcp-header': 'Region' },
                depth: { type: 'integer', description: 'also in Mcp-Param-Depth', 'x-mcp-header': 'Depth' },
                dry: { type: 'boolean', description: 'also in Mcp-Param-Dry', 'x-mcp-header': 'Dry' },
                note: { type: 'string', description: 'in the body alone' },
            },
        },
        call: (args) => text(JSON.stringify(args)),
    },
    {
        name: 'json_schema_2020_12_tool',
        description: 'Has an input schema with keywords of JSON Schema 2020-12',
        input: {
            $schema: 'https://json-schema.org/draft/2020-12/schema',
            type: 'object',
            $defs: {
                address: {
                    $anchor: 'addressDef',
                    type: 'object',
                    properties: { street: { type: 'string' }, city: { type: 'string' } },
                },
            },
            properties: {
                name: { type: 'string' },
                address: { $ref: '#/$defs/address' },
                contactMethod: { type: 'string', enum: ['phone', 'email'] },
                phone: { type: 'string' },
                email: { type: 'string' },
            },
            allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
            if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
            then: { required: ['phone'] },
            else: { required: ['email'] },
            additionalProperties: false,
        },
        call: (args) => text(JSON.stringify(args)),
    },
    {
        name: 'greet',
        description: 'Greets by name, and is never a task',
        input: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
        call: ({ name }) => text(`Hello, ${name}!`),
    },
    {
        name: 'test_trigger_tool_change',
        description: 'Tells subscribers that the list of tools has changed',
        call(_args, _ctx, changes) {
            changes.tools();
            return text('told those who listen for tools');
        },
    },
    {
        name: 'test_trigger_prompt_change',
        description: 'Tells subscribers that the list of prompts has changed',
        call(_args, _ctx, changes) {
            changes.prompts();
            return text('told those who listen for prompts');
        },
    },
    {
        name: 'test_trigger_resource_change',
        description: 'Tells the subscribers of a resource that it has changed',
        input: { type: 'object', properties: { uri: { type: 'string' } } },
        call({ uri = 'test://watched-resource' }, _ctx, changes) {
            changes.resource(uri);
            return text(`told those who listen for ${uri}`);
        },
    },
];
