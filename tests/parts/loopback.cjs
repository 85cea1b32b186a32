// Keeps a Node server on a loopback port, and ends it with the test that started it: `node --require loopback.cjs SERVER`. The
// counterpart of `loopback.py`. It contains nothing about MCP.
//
// Start the program with a pipe as its standard input; it ends when that pipe closes. Whatever address it asks for, it listens on
// 127.0.0.1, at the port in PORT (0 or nothing: any free one), and prints `ready <port>` when it accepts.

'use strict';

const { Server } = require('node:net');

const listen = Server.prototype.listen;

Server.prototype.listen = function (...wanted) {
    const accepted = wanted.at(-1);
    return listen.call(this, { host: '127.0.0.1', port: Number(process.env.PORT ?? 0) }, () => {
        console.log(`ready ${this.address().port}`);
        if (typeof accepted === 'function') accepted();
    });
};

process.stdin.on('end', () => process.exit(0)).resume();
