// The event log of a session, with which a client can resume a lost stream. An event has the id `<number>/<stream>`; numbers
// count through the whole session, and only the events of the stream itself are replayed.

// The oldest event is dropped when there are more: a client that far behind starts anew.
const MAX_EVENTS = 1000;

export class StreamLog {
    #events = [];
    #sent = 0;

    async storeEvent(stream, message) {
        this.#sent += 1;
        this.#events.push({ number: this.#sent, stream, message });
        if (this.#events.length > MAX_EVENTS) this.#events.shift();
        return `${this.#sent}/${stream}`;
    }

    async getStreamIdForEventId(id) {
        return parse(id)?.stream;
    }

    async replayEventsAfter(id, { send }) {
        const last = parse(id);
        for (const { number, stream, message } of this.#events) {
            // The event that opens a stream is empty, and is not replayed.
            if (stream !== last.stream || number <= last.number || message.jsonrpc === undefined) continue;
            await send(`${number}/${stream}`, message);
        }
        return last.stream;
    }
}

function parse(id) {
    const [, number, stream] = /^(\d+)\/(.+)$/.exec(id) ?? [];
    return stream === undefined ? undefined : { number: Number(number), stream };
}
