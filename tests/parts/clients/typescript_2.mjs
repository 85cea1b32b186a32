// The official TypeScript client of both eras: `typescript_2.mjs URL MODE`, where the mode is `legacy`, or `auto` for the newest
// era that both support. Its calls and output are described in `walk.py`.

import { answer, part, sample, saw, walk } from './walk.mjs';

const { Client, StreamableHTTPClientTransport } = part('typescript-client-2.4.0')('@modelcontextprotocol/client');

const [url, mode] = process.argv.slice(2);
const client = new Client(
    { name: 'typescript 2', version: '0' },
    { capabilities: { sampling: {}, elicitation: {} }, versionNegotiation: { mode } },
);
client.setRequestHandler('sampling/createMessage', sample);
client.setRequestHandler('elicitation/create', answer);
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
saw('initialize', { server: client.getServerVersion().name, protocol: client.getNegotiatedProtocolVersion() });
await walk(
    () => client.listTools(),
    (name, args, onprogress) => client.callTool({ name, arguments: args }, { onprogress }),
);
await transport.terminateSession();
await client.close();
saw('done');
