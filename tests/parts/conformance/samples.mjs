// The smallest valid files of their media types: one red pixel, one silent sample. They are
// built, not pasted, so that their content is readable.

import { crc32, deflateSync } from 'node:zlib';

const SAMPLE_RATE = 8000;

export const PNG = png().toString('base64');
export const WAV = wav().toString('base64');

function png() {
    const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
    const row = Buffer.from([0, 255, 0, 0]);
    const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(row)), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(type, data) {
    const named = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(named));
    return Buffer.concat([length, named, sum]);
}

function wav() {
    const file = Buffer.alloc(46);
    file.write('RIFF', 0, 'latin1');
    file.writeUInt32LE(file.length - 8, 4);
    file.write('WAVEfmt ', 8, 'latin1');
    file.writeUInt32LE(16, 16);
    file.writeUInt16LE(1, 20);
    file.writeUInt16LE(1, 22);
    file.writeUInt32LE(SAMPLE_RATE, 24);
    file.writeUInt32LE(SAMPLE_RATE * 2, 28);
    file.writeUInt16LE(2, 32);
    file.writeUInt16LE(16, 34);
    file.write('data', 36, 'latin1');
    file.writeUInt32LE(2, 40);
    return file;
}
