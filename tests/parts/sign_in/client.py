"""What the Python clients have in common: they sign in, and call a tool at the beginning and for each line of standard input: `echo`,
or the one of LLAMAPOOL_TOOL, which takes nothing.

Each prints a JSON object a line: `result` with the text of a call, `refused` with the kind of error, and `done` at the end.
"""

import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

BROWSER = Path(__file__).with_name("browser.py")
TOOL = os.environ.get("LLAMAPOOL_TOOL", "echo")
ARGUMENTS = {"text": "grüße 🦙"} if TOOL == "echo" else {}
LIMIT_SECONDS = 60


class Refused(Exception):
    """A program that is started for each call has failed."""


def saw(what: str, **facts: object) -> None:
    print(json.dumps({"saw": what, **facts}), flush=True)


async def browse(url: str) -> dict:
    """Runs the browser at an authorization URL. Returns the parameters of the redirect back."""
    saw("asked", url=url.split("?")[0], **{k: v[0] for k, v in urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).items()
                                           if k in ("resource", "scope", "redirect_uri")})
    environment = {**os.environ, "LLAMAPOOL_CALLBACK": "print"}
    run = await anyio.run_process([sys.executable, BROWSER, url], env=environment, stderr=None, check=True)
    query = urllib.parse.urlsplit(run.stdout.decode().strip()).query
    return {name: values[0] for name, values in urllib.parse.parse_qs(query).items()}


async def calls(call: Callable[[], Awaitable[str]]) -> None:
    """Calls once, and once more for each line of standard input."""
    with anyio.fail_after(LIMIT_SECONDS):
        saw("result", text=await call())
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            saw("result", text=await call())
    saw("done")


def flattened(error: BaseException) -> list:
    """Returns the kinds of errors within groups of errors."""
    if isinstance(error, BaseExceptionGroup):
        return [kind for inner in error.exceptions for kind in flattened(inner)]
    return [type(error).__name__]


def run(main: Callable[..., Awaitable[None]]) -> None:
    try:
        anyio.run(main, *sys.argv[1:])
    except BaseException as error:  # noqa: BLE001 - what a client raises is its own
        if isinstance(error, subprocess.CalledProcessError):
            raise
        saw("refused", kinds=sorted(set(flattened(error))))
