// One MCP server, composed of the other modules. Every session of the older era and every request of the newer one gets its
// own. It is independent of the transport, HTTP or standard input and output.

import { fromJsonSchema, McpServer, ResourceTemplate } from '@modelcontextprotocol/server';

import { complete, PROMPTS } from './prompts.mjs';
import { QUESTIONS, SEAL } from './questions.mjs';
import { RESOURCES, TEMPLATE } from './resources.mjs';
import { SKILLS } from './skills.mjs';
import { serveTasks, TASK_TOOLS, TASKS } from './tasks.mjs';
import { TOOLS } from './tools.mjs';

const NO_ARGUMENTS = { type: 'object', properties: {} };
// Lists may be kept for a minute by anyone, so that the hints on them are not the SDK's defaults.
const LIST = { ttlMs: 60_000, cacheScope: 'public' };

// `changes` notifies the subscriptions of the newer era; in the older one the session notifies its client.
export function makeServer(era, changes) {
    const modern = era === 'modern';
    const mcp = new McpServer(
        { name: 'llamapool-conformance', version: '1.0.0' },
        {
            // `tools` is not among them, because the SDK adds it with the first tool, and `serveTasks` must have come before.
            capabilities: {
                prompts: { listChanged: true },
                resources: { listChanged: true, subscribe: true },
                logging: {},
                completions: {},
                ...(modern && { extensions: { [TASKS]: {} } }),
            },
            requestState: { verify: SEAL.verify },
            cacheHints: { 'tools/list': LIST, 'prompts/list': LIST, 'resources/list': LIST, 'resources/templates/list': LIST },
        },
    );
    if (modern) serveTasks(mcp.server);
    const subscribed = serveSubscriptions(mcp.server);
    registerTools(mcp, modern ? [...TOOLS, ...QUESTIONS, ...TASK_TOOLS] : [...TOOLS, ...QUESTIONS], changes ?? {
        tools: () => mcp.sendToolListChanged(),
        prompts: () => mcp.sendPromptListChanged(),
        resource: (uri) => (modern || subscribed.has(uri)) && mcp.server.sendResourceUpdated({ uri }),
    });
    registerPrompts(mcp);
    registerResources(mcp);
    SKILLS.attach(mcp);
    return mcp;
}

function registerTools(mcp, tools, changes) {
    for (const { name, description, input = NO_ARGUMENTS, call } of tools) {
        mcp.registerTool(name, { description, inputSchema: fromJsonSchema(input) }, (args, ctx) => call(args, ctx, changes));
    }
}

function registerPrompts(mcp) {
    for (const { name, description, input, get } of PROMPTS) {
        if (input === undefined) mcp.registerPrompt(name, { description }, (ctx) => get({}, ctx));
        else mcp.registerPrompt(name, { description, argsSchema: fromJsonSchema(input) }, get);
    }
    mcp.server.setRequestHandler('completion/complete', (request) => complete(request.params.argument.value));
}

function registerResources(mcp) {
    const contents = (uri, { mimeType }, content) => ({ contents: [{ uri, mimeType, ...content }] });
    for (const { name, uri, about, content } of RESOURCES) {
        mcp.registerResource(name, uri, about, () => contents(uri, about, content));
    }
    const { name, uri, about, content } = TEMPLATE;
    const template = new ResourceTemplate(uri, { list: undefined });
    mcp.registerResource(name, template, about, (found, variables) => contents(found.href, about, content(variables)));
}

// The older era's subscriptions: a set for each session. The newer era has streams instead, which the SDK serves.
function serveSubscriptions(server) {
    const subscribed = new Set();
    server.setRequestHandler('resources/subscribe', (request) => {
        subscribed.add(request.params.uri);
        return {};
    });
    server.setRequestHandler('resources/unsubscribe', (request) => {
        subscribed.delete(request.params.uri);
        return {};
    });
    return subscribed;
}
