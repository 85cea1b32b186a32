// Puts a server of others that is written for Node on a loopback port, and ends it with the test that started it: `node
// --require loopback.cjs SERVER`. What `loopback.py` is for Python. Not here: anything about MCP.
//
// The one rule to know: start the program with a pipe as its standard input; it ends when that pipe closes. Wherever it asks to
// listen, it listens on 127.0.0.1, at the port that PORT names (0 or nothing: any free one), and `ready <port>` is printed when
// it accepts.

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
