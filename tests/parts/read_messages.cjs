// Shows what Node's readers find in messages: `node read_messages.cjs FILE`, with one body a line, in hexadecimal digits.
//
// Prints a line of JSON for each body: a list of [method, name], of all messages that any of the readers finds in it. The readers
// are `JSON.parse` of the text, with and without a byte order mark, and of a copy that `Object.assign` makes.

'use strict';

const { readFileSync } = require('node:fs');

function* ofValue(value, copy) {
    for (const message of Array.isArray(value) ? value : [value]) {
        if (Array.isArray(message)) {
            yield* ofValue(message, copy);
        } else if (message !== null && typeof message === 'object') {
            const { method, params } = copy(message);
            const name = params !== null && typeof params === 'object' ? copy(params).name : undefined;
            // Half surrogates have no UTF-8.
            yield [String(method).toWellFormed(), String(name).toWellFormed()];
        }
    }
}

function* read(text) {
    let value;
    try {
        value = JSON.parse(text);
    } catch {
        return;
    }
    yield* ofValue(value, (object) => object);
    yield* ofValue(value, (object) => Object.assign({}, object));
}

for (const line of readFileSync(process.argv[2], 'ascii').split('\n').slice(0, -1)) {
    const body = Buffer.from(line, 'hex');
    const texts = [body.toString('utf8'), new TextDecoder().decode(body), body.toString('utf16le')];
    console.log(JSON.stringify(texts.flatMap((text) => [...read(text)])));
}
