"""Reads event streams, one or thousands at once, and notes when each event came.

The one rule: while streams are open it only stamps and stores; what was in them is read when they have ended.
"""

import selectors
import socket
import time
from urllib.parse import urlsplit

# The clock in the provider's events.
_now = time.time_ns


class Stream:
    """One event stream: when it was asked for, and what came when."""

    def __init__(self, url):
        target = urlsplit(url)
        self.socket = socket.create_connection((target.hostname, target.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pieces = []
        request = (f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nAccept: text/event-stream\r\n"
                   "Connection: close\r\n\r\n").encode()
        self.asked = _now()
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def read(self):
        """Takes what is there; whether the stream goes on."""
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.pieces.append((_now(), piece))
        return bool(piece)

    def events(self):
        """For each event: when it came and when the provider made it, in nanoseconds."""
        found, held = [], b""
        for came, piece in self.pieces:
            held += piece
            *whole, held = held.split(b"\n\n")
            for each in whole:
                at = each.rfind(b"data: ")
                if at >= 0:
                    found.append((came, int(each[at + 6:])))
        return found


def read_streams(urls, seconds):
    """Opens all and reads until all have ended, or for so long."""
    selector = selectors.DefaultSelector()
    streams, deadline = [], time.monotonic() + seconds
    for url in urls:
        stream = Stream(url)
        streams.append(stream)
        selector.register(stream.socket, selectors.EVENT_READ, stream)
        _read_ready(selector, 0)
    while selector.get_map() and time.monotonic() < deadline:
        _read_ready(selector, 0.1)
    for stream in streams:
        stream.socket.close()
    selector.close()
    return streams


def _read_ready(selector, patience):
    for key, _ in selector.select(patience):
        if not key.data.read():
            selector.unregister(key.fileobj)
