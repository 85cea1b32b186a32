"""The few chat completions that the run itself sends: to check a path, to read or leave answers, to keep some calls running.

It never makes load at full speed. That comes from wrk.
"""

import http.client
import json
import re
import socket
import time
from urllib.parse import urlsplit

from rig.mcp_client import NotAnswered, get

PATH = "/v1/chat/completions"
# A bound for one answer of any path.
ANSWER_SECONDS = 10
# The text of an event, which is the time at which the runtime made it. Some routers write events anew.
_EVENT = re.compile(rb'"content":\s*"(\d+)"')


def wait_until_answered(url, headers, seconds, check):
    """Asks until there is an answer. `check` raises `NotAnswered` when there will be none."""
    deadline = time.monotonic() + seconds
    while True:
        check()
        try:
            with ChatStream(url, headers, events=1, pause_ms=1) as stream:
                stream.read(1)
            return
        except (OSError, NotAnswered) as error:
            if time.monotonic() > deadline:
                raise NotAnswered(f"no answer within {seconds} s: {error}") from error
            time.sleep(0.01)


def chat(words, stream=False):
    """Returns the body of a request. `words` in the prompt are instructions to the runtime."""
    body = {"model": "bench", "messages": [{"role": "user", "content": f"{words} word"}], "stream": stream, "max_tokens": 200}
    return json.dumps(body)


def request(headers, body):
    """Returns the function that makes an HTTP request of a URL's parts."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return lambda target: (f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n{more}Content-Type: application/json\r\n"
                           f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}")


def events_of(stream):
    """Returns for each event of a stream that was read the times at the reader and at the runtime, in nanoseconds."""
    found, held = [], b""
    for came, piece in stream.pieces:
        *whole, held = (held + piece).split(b"\n\n")
        found += [(came, int(made)) for event in whole for made in _EVENT.findall(event)]
    return found


class Runtime:
    """What the mock runtime reports about its calls."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def left(self):
        """Returns when the last caller left before the end of its answer, in nanoseconds."""
        return self._number("/left")

    def arrived(self):
        """Returns the number of calls so far."""
        return self._number("/arrived")

    def _number(self, path):
        self._connection.request("GET", path)
        return int(self._connection.getresponse().read())


def waiting(url, headers):
    """Returns the number of calls in the queue of llamapool, as its list of models reports it."""
    _, text = get(url.replace("/chat/completions", "/models"), headers)
    return sum(model["llamapool"]["waiting"] for model in json.loads(text)["data"])


def workers(url, headers):
    """Returns the number of workers that have the model, as llamapool's list of models reports it. 0 if it does not answer."""
    try:
        status, text = get(url.replace("/chat/completions", "/models"), headers)
    except (OSError, http.client.HTTPException):
        return 0
    return sum(model["llamapool"]["workers"] for model in json.loads(text)["data"]) if status == 200 else 0


class Asked:
    """A request that was sent, until it is closed, which is how its caller leaves."""

    def __init__(self, url, headers, body):
        target = urlsplit(url)
        self.socket = socket.create_connection((target.hostname, target.port), timeout=ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        text = request(headers, body)(target).encode()
        self.asked = time.time_ns()
        self.socket.sendall(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class ChatStream(Asked):
    """One streamed answer, event by event."""

    def __init__(self, url, headers, events, pause_ms):
        super().__init__(url, headers, chat(f"pause_ms={pause_ms} events={events}", stream=True))
        self._held, self._events = b"", []

    def read(self, count):
        """Reads so many events. Returns for each the times at the reader and at the runtime, in nanoseconds."""
        while len(self._events) < count:
            piece = self.socket.recv(65536)
            came = time.time_ns()
            if not piece:
                raise NotAnswered(f"the stream ended after {len(self._events)} of {count} events: {_first_line(self._held)}")
            *whole, self._held = (self._held + piece).split(b"\n\n")
            self._events += [(came, int(made)) for event in whole for made in _EVENT.findall(event)]
            if not self._events and b"HTTP/1.1 " in self._held and b"HTTP/1.1 200" not in self._held:
                raise NotAnswered(f"answered with {_first_line(self._held)}")
        return self._events[:count]


def _first_line(held):
    return held.split(b"\r\n")[0][:100].decode(errors="replace")
