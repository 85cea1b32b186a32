"""The few chat completions that the run itself sends: to check a path, and to read or leave streams.

It never makes load. Load comes from wrk.
"""

import json
import socket
import time
from urllib.parse import urlsplit

from rig.mcp_client import NotAnswered, get

PATH = "/v1/chat/completions"
_MESSAGES = [{"role": "user", "content": "word"}]


def wait_until_answered(url, headers, seconds):
    """Asks until there is an answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with ChatStream(url, headers, events=1, pause_ms=1) as stream:
                stream.read(1)
            return
        except (OSError, NotAnswered) as error:
            if time.monotonic() > deadline:
                raise NotAnswered(f"{url} did not answer within {seconds} s: {error}") from error
            time.sleep(0.01)


def left_at(runtime_port):
    """Returns when the last caller left a stream of the runtime, in nanoseconds."""
    return int(get(f"http://127.0.0.1:{runtime_port}/left")[1])


class ChatStream:
    """One streamed answer, event by event."""

    def __init__(self, url, headers, events, pause_ms):
        target = urlsplit(url)
        body = json.dumps({"model": "bench", "messages": _MESSAGES, "stream": True, "max_tokens": events, "pause_ms": pause_ms})
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.socket = socket.create_connection((target.hostname, target.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held, self._events = b"", []
        self.asked = time.time_ns()
        self.socket.sendall((f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n{more}Content-Type: application/json\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n{body}").encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self, count):
        """Reads so many events. Returns for each the times at the reader and at the runtime, in nanoseconds."""
        while len(self._events) < count:
            piece = self.socket.recv(65536)
            came = time.time_ns()
            if not piece:
                raise NotAnswered(f"the stream ended after {len(self._events)} of {count} events: {self._held[:300]}")
            self._held += piece
            *whole, self._held = self._held.split(b"\n\n")
            for event in whole:
                self._take(event, came)
            if not self._events and b"HTTP/1.1 " in self._held and b"HTTP/1.1 200" not in self._held:
                raise NotAnswered(self._held[:300].decode(errors="replace"))
        return self._events[:count]

    def _take(self, event, came):
        _, found, text = event.partition(b'"content":"')
        made = text.partition(b'"')[0]
        if found and made.isdigit():
            self._events.append((came, int(made)))
