// The official TypeScript client, second version, signs in: `typescript_2.mjs URL`; see `client.py`.

import { calls, connected, part, Provider, run } from './client.mjs';

const sdk = part('typescript-client-2.4.0')('@modelcontextprotocol/client');
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = sdk;

await run(async (url) => {
    const authProvider = new Provider('official TypeScript client 2');
    let transport;
    const connect = async () => {
        transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
        const client = new Client({ name: 'typescript 2', version: '0' });
        await client.connect(transport);
        return client;
    };
    const finish = (answer) => transport.finishAuth(answer);
    const client = await connected(connect, authProvider, UnauthorizedError, finish);
    await calls(client);
    await client.close();
});
