// The official TypeScript client of the older era: `typescript_1.mjs URL`, or `typescript_1.mjs URL sse` for HTTP with SSE. Its
// calls and output are described in `walk.py`.

import { answer, part, sample, saw, walk } from './walk.mjs';

const sdk = part('typescript-sdk-1.32.2');
const { Client } = sdk('@modelcontextprotocol/sdk/client/index.js');
const { SSEClientTransport } = sdk('@modelcontextprotocol/sdk/client/sse.js');
const { StreamableHTTPClientTransport } = sdk('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { CreateMessageRequestSchema, ElicitRequestSchema } = sdk('@modelcontextprotocol/sdk/types.js');

const client = new Client({ name: 'typescript 1', version: '0' }, { capabilities: { sampling: {}, elicitation: {} } });
client.setRequestHandler(CreateMessageRequestSchema, sample);
client.setRequestHandler(ElicitRequestSchema, answer);
const [url, form] = process.argv.slice(2);
const isSse = form === 'sse';
const transport = new (isSse ? SSEClientTransport : StreamableHTTPClientTransport)(new URL(url));
// One of the two transports does not return the negotiated version.
let protocol;
const setVersion = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
    protocol = version;
    setVersion?.(version);
};
await client.connect(transport);
saw('initialize', { server: client.getServerVersion().name, protocol });
await walk(
    () => client.listTools(),
    (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { onprogress }),
);
if (!isSse) await transport.terminateSession();
await client.close();
saw('done');
