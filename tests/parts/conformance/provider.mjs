// The project's own MCP server for the conformance suite: all features of revisions 2024-11-05 to 2026-07-28, over HTTP
// on a loopback port (`--port N`, 0 or nothing for any free one) or over standard input and output (`--stdio`).
//
// It ends when its standard input closes, so that no test can leave it behind. Over HTTP, the only line on
// standard output is `ready <port>`, printed when it accepts. Start it with `./provider`, which finds Node and the packages.

import { parseArgs } from 'node:util';

import { serveStdio } from '@modelcontextprotocol/server/stdio';

import { makeHttpServer } from './http.mjs';
import { makeServer } from './server.mjs';

const { values } = parseArgs({
    options: { port: { type: 'string', default: '0' }, stdio: { type: 'boolean', default: false } },
});

process.stdin.on('end', () => process.exit(0));
if (values.stdio) {
    serveStdio(({ era }) => makeServer(era), { onerror: (error) => console.error(error.message) });
} else {
    process.stdin.resume();
    const http = makeHttpServer();
    http.listen(Number(values.port), '127.0.0.1', () => console.log(`ready ${http.address().port}`));
}
