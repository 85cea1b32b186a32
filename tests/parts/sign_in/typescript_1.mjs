// The official TypeScript client, first version, signs in: `typescript_1.mjs URL`; see `client.py`.

import { calls, connected, part, Provider, run } from './client.mjs';

const sdk = part('typescript-sdk-1.32.2');
const { UnauthorizedError } = sdk('@modelcontextprotocol/sdk/client/auth.js');
const { Client } = sdk('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = sdk('@modelcontextprotocol/sdk/client/streamableHttp.js');

await run(async (url) => {
    const authProvider = new Provider('official TypeScript client 1');
    let transport;
    const connect = async () => {
        transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
        const client = new Client({ name: 'typescript 1', version: '0' });
        await client.connect(transport);
        return client;
    };
    const finish = (answer) => transport.finishAuth(answer.get('code'));
    const client = await connected(connect, authProvider, UnauthorizedError, finish);
    await calls(client);
    await client.close();
});
