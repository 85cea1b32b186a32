"""A load with an exact number of calls: each connection sends the next call when the last one was answered.

For counting, not for speed: it is slow beside wrk, and never the reason why a process under valgrind waits.
"""

import json
import selectors
import socket
import time
from urllib.parse import urlsplit

# All ids have as many digits, so all requests are of one length.
_FIRST_ID = 1_000_000_000


class LoadFailed(Exception):
    """A call was not answered as it should be."""


class ToolCall:
    """The MCP call of the benchmark. Its answer has its id."""

    headers = {"Accept": "application/json, text/event-stream"}

    @staticmethod
    def body(number):
        return '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{}}}' % number

    @staticmethod
    def is_answer(number, body):
        return str(number).encode() in body


class LongToolCall(ToolCall):
    """The same with a request and an answer of the sizes of a chat: both have the id, which is a text of 900 bytes."""

    _TEXT = "word " * 180

    @classmethod
    def body(cls, number):
        return ('{"jsonrpc":"2.0","id":"%s%d","method":"tools/call","params":{"name":"echo","arguments":{}}}'
                % (cls._TEXT, number))


class SizedToolCall(ToolCall):
    """The same with a request of so many bytes. Its answer has the id behind the beginning, and is as large by its URL."""

    def __init__(self, size):
        head = super().body(_FIRST_ID)[:-len('}}}')] + '"text":""}}}'
        self._text, self._size = "w" * (size - len(head)), size

    def body(self, number):
        return super().body(number)[:-len('}}}')] + f'"text":"{self._text}"}}}}}}'

    def is_answer(self, number, body):
        return len(body) >= self._size and super().is_answer(number, body[:100])


class ChatCall:
    """A chat completion of 1 KB that asks for no stream, as in bench/lua/chat.lua."""

    _BODY = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "word " * 180}], "max_tokens": 16,
                        "temperature": 0}, separators=(",", ":"))

    def __init__(self, headers):
        self.headers = headers

    def body(self, _):
        return self._BODY

    @staticmethod
    def is_answer(_, body):
        return b'"chat.completion"' in body and b'"finish_reason":"stop"' in body


class ClosedLoop:
    """Connections that stay open from one load to the next."""

    def __init__(self, url, connections, call):
        parts = urlsplit(url)
        more = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{more}Content-Type: application/json\r\n"
        self._call = call
        self._sockets = [socket.create_connection((parts.hostname, parts.port)) for _ in range(connections)]
        self._next_id = _FIRST_ID

    def run(self, calls, seconds):
        """Makes so many calls, within so many seconds, and returns when the last one is answered."""
        deadline = time.monotonic() + seconds
        left, running = calls, {}
        with selectors.DefaultSelector() as selector:
            for connection in self._sockets[:calls]:
                selector.register(connection, selectors.EVENT_READ)
                running[connection] = self._send(connection)
                left -= 1
            while running:
                if time.monotonic() > deadline:
                    raise LoadFailed(f"{left + len(running)} of {calls} calls were not answered within {seconds} s")
                for key, _ in selector.select(1):
                    connection = key.fileobj
                    if not self._receive(connection, *running[connection]):
                        continue
                    del running[connection]
                    if left:
                        running[connection] = self._send(connection)
                        left -= 1

    def _send(self, connection):
        self._next_id += 1
        body = self._call.body(self._next_id)
        connection.sendall(f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return self._next_id, bytearray()

    def _receive(self, connection, call_id, answer):
        """Reads what there is; true when the answer is whole."""
        piece = connection.recv(65536)
        if not piece:
            raise LoadFailed(f"the connection of call {call_id} was closed after {bytes(answer[:300])!r}")
        answer += piece
        head, found, body = bytes(answer).partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise LoadFailed(f"the answer was {bytes(answer[:300])!r}")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if len(body) < int(lengths[0]):
            return False
        if not self._call.is_answer(call_id, body):
            raise LoadFailed(f"call {call_id} was answered with {body[:300]!r}")
        return True

    def close(self):
        """Closes all connections."""
        for connection in self._sockets:
            connection.close()
