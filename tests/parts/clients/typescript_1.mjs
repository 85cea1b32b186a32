// The official TypeScript client of the older era: `typescript_1.mjs URL`. What it does and prints is said in `walk.py`.

import { answer, part, sample, saw, walk } from './walk.mjs';

const sdk = part('typescript-sdk-1.32.2');
const { Client } = sdk('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = sdk('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { CreateMessageRequestSchema, ElicitRequestSchema } = sdk('@modelcontextprotocol/sdk/types.js');

const client = new Client({ name: 'typescript 1', version: '0' }, { capabilities: { sampling: {}, elicitation: {} } });
client.setRequestHandler(CreateMessageRequestSchema, sample);
client.setRequestHandler(ElicitRequestSchema, answer);
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
await client.connect(transport);
saw('initialize', { server: client.getServerVersion().name, protocol: transport.protocolVersion });
await walk(
    () => client.listTools(),
    (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { onprogress }),
);
await transport.terminateSession();
await client.close();
saw('done');
