"""Callers that each ask one question after another, for the moment at which something behind the path ends.

A call is slow because the runtime waits, so that threads of Python are fast enough.
"""

import http.client
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from rig.chat_client import ANSWER_SECONDS, chat


@dataclass
class Call:
    """One call: when it was sent and when it ended, in seconds of the monotonic clock, and why it failed, if it did."""

    sent: float
    ended: float
    error: str = ""


class ChatLoop:
    """So many callers with one call each at a time, until it is stopped. The answer of a call begins after `wait_ms`."""

    def __init__(self, route, callers, wait_ms):
        self._route, self._target = route, urlsplit(route.url)
        self._wait_ms, self._stop = wait_ms, threading.Event()
        self._calls, self._lock = [], threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Lets the running calls end, and returns all calls."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS + 1)
        with self._lock:
            return list(self._calls)

    def _ask(self):
        while not self._stop.is_set():
            sent = time.monotonic()
            error = self._call()
            with self._lock:
                self._calls.append(Call(sent, time.monotonic(), error))
            if error:
                # A path that refuses at once gets no more calls than one that answers.
                time.sleep(max(0.0, self._wait_ms / 1e3 - (time.monotonic() - sent)))

    def _call(self):
        connection = http.client.HTTPConnection(self._target.hostname, self._target.port, timeout=ANSWER_SECONDS)
        try:
            headers = {"Content-Type": "application/json", **self._route.headers}
            connection.request("POST", self._target.path, chat(f"first_ms={self._wait_ms}"), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200 and b'"choices"' in text:
                return ""
            return f"status {answer.status}: {text[:100].decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
