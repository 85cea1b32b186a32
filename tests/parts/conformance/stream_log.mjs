// What a session has sent on its event streams, so that a client that lost one can resume it. The one rule to know: an event
// has the address `<number>/<stream>`; numbers count through the whole session, and only the stream's own events are repeated.

// The oldest event is forgotten when there are more: whoever is that far behind starts anew.
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
            // The event that opens a stream has nothing in it, and is not repeated.
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
