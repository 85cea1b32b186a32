"""A load with an exact number of calls: each connection sends the next call when the last one was answered.

For counting, not for speed: it is slow beside wrk, and never the reason why a process under valgrind waits.
"""

import selectors
import socket
import time
from urllib.parse import urlsplit

_BODY = '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{}}}'
# All ids have as many digits, so all requests are of one length.
_FIRST_ID = 1_000_000_000


class LoadFailed(Exception):
    """A call was not answered as it should be."""


class ClosedLoop:
    """Connections that stay open from one load to the next."""

    def __init__(self, url, connections):
        parts = urlsplit(url)
        self._head = (f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                      "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n")
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
        body = _BODY % self._next_id
        connection.sendall(f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return self._next_id, bytearray()

    @staticmethod
    def _receive(connection, call_id, answer):
        """Reads what there is; true when the answer is whole."""
        answer += connection.recv(65536)
        head, found, body = bytes(answer).partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise LoadFailed(f"the answer was {bytes(answer[:300])!r}")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if len(body) < int(lengths[0]):
            return False
        if str(call_id).encode() not in body:
            raise LoadFailed(f"call {call_id} was answered with {body[:300]!r}")
        return True

    def close(self):
        """Closes all connections."""
        for connection in self._sockets:
            connection.close()
