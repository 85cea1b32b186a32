"""Reads event streams, one or thousands at once, and records the time of each event.

While streams are open it only takes times and stores bytes; they are parsed after the end.
"""

import selectors
import socket
import time
from urllib.parse import urlsplit

# The clock in the provider's events.
_now = time.time_ns


class Stream:
    """One event stream: the time of its request, and the bytes with their times.

    `request` is made of the URL's parts, a plain GET by default.
    """

    def __init__(self, url, request=None):
        target = urlsplit(url)
        self.socket = socket.create_connection((target.hostname, target.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pieces = []
        text = (request or _get)(target)
        self.asked = _now()
        self.socket.sendall(text.encode())
        self.socket.setblocking(False)

    def read(self):
        """Reads the available bytes and returns whether the stream goes on."""
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.pieces.append((_now(), piece))
        return bool(piece)

    def events(self):
        """Returns for each event the times at the reader and at the provider, in nanoseconds."""
        found, held = [], b""
        for came, piece in self.pieces:
            held += piece
            *whole, held = held.split(b"\n\n")
            for each in whole:
                at = each.rfind(b"data: ")
                if at >= 0:
                    found.append((came, int(each[at + 6:])))
        return found


def _get(target):
    return f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"


def read_streams(urls, seconds, request=None):
    """Opens all streams and reads until all have ended, or until the time is over."""
    selector = selectors.DefaultSelector()
    streams, deadline = [], time.monotonic() + seconds
    for url in urls:
        stream = Stream(url, request)
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
