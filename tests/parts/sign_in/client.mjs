// What the TypeScript clients have in common: `client.py` says what they do.

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BROWSER = fileURLToPath(new URL('browser.py', import.meta.url));
const CALLBACK = 'http://127.0.0.1:33418/callback';
const TOOL = process.env.LLAMAPOOL_TOOL ?? 'echo';
const ARGUMENTS = TOOL === 'echo' ? { text: 'grüße 🦙' } : {};

export function saw(what, facts = {}) {
    console.log(JSON.stringify({ saw: what, ...facts }));
}

// Returns the function that imports from a part.
export function part(name) {
    return createRequire(`${process.env.LLAMAPOOL_PARTS}/${name}/`);
}

// What an OAuthClientProvider keeps, in memory, with the browser of the tests.
export class Provider {
    redirectUrl = CALLBACK;
    kept = {};

    constructor(name) {
        this.clientMetadata = { client_name: name, redirect_uris: [CALLBACK] };
    }

    clientInformation() {
        return this.kept.client;
    }

    saveClientInformation(client) {
        this.kept.client = client;
    }

    tokens() {
        return this.kept.tokens;
    }

    saveTokens(tokens) {
        this.kept.tokens = tokens;
    }

    saveCodeVerifier(verifier) {
        this.kept.verifier = verifier;
    }

    codeVerifier() {
        return this.kept.verifier;
    }

    saveDiscoveryState(state) {
        this.kept.discovery = state;
    }

    discoveryState() {
        return this.kept.discovery;
    }

    redirectToAuthorization(url) {
        const { searchParams } = url;
        const asked = ['resource', 'scope', 'redirect_uri'].filter((name) => searchParams.has(name));
        saw('asked', { url: `${url.origin}${url.pathname}`, ...Object.fromEntries(asked.map((name) => [name, searchParams.get(name)])) });
        const environment = { ...process.env, LLAMAPOOL_CALLBACK: 'print' };
        const stdio = ['ignore', 'pipe', 'inherit'];
        const run = spawnSync('python3', [BROWSER, url.href], { env: environment, stdio, encoding: 'utf8' });
        if (run.status !== 0) throw new Error('the browser has failed');
        this.answer = new URL(run.stdout.trim()).searchParams;
    }
}

// Connects, signs in where that is asked for, and connects again.
export async function connected(connect, provider, UnauthorizedError, finish) {
    try {
        return await connect();
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
        await finish(provider.answer);
        return connect();
    }
}

// Calls once, and once more for each line of standard input.
export async function calls(client) {
    const call = async () => {
        const result = await client.callTool({ name: TOOL, arguments: ARGUMENTS });
        saw('result', { text: result.content[0].text });
    };
    await call();
    for await (const _ of createInterface({ input: process.stdin })) await call();
}

// Runs a client, and prints the kind of the error that ends it.
export async function run(main) {
    try {
        await main(process.argv[2]);
        saw('done');
    } catch (error) {
        saw('refused', { kinds: [error.constructor.name] });
    }
    process.exit();
}
