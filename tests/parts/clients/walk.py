"""The walk that every Python client here takes through the tools of `conformance/provider`, and how it says what it sees.

One JSON object per line, each naming its observation in `saw`. The last one is `done`; without it the run has failed, and
standard error says why. What they ought to be is the business of `clients.rs`. `walk.mjs` is the same for Node. Through other
servers the walk has the calls that LLAMAPOOL_CALLS lists, in JSON and as CALLS are written here.

The one rule to know: nothing here waits by the clock, so a notification that is lost ends the run at LIMIT_SECONDS.
"""

import json
import os
from collections.abc import Awaitable, Callable

import anyio

LIMIT_SECONDS = 25
# Tool, arguments, and how many steps of progress there are.
CALLS = [
    ("test_simple_text", {}, 0),
    ("test_tool_with_progress", {}, 3),
    ("test_sampling", {"prompt": "Say grüße 🦙"}, 0),
    ("test_elicitation", {"message": "Who are you?"}, 0),
]
# What the model and the user behind these clients always answer.
MODEL, WORDS = "a model", "grüße 🦙"
FORM = {"email": "llama@example.org", "username": "llama"}


def saw(what: str, **facts: object) -> None:
    print(json.dumps({"saw": what, **facts}), flush=True)


class Walk:
    def __init__(self) -> None:
        self.missing = 0
        self.complete = anyio.Event()

    async def progress(self, done: float, total: float | None, _message: str | None) -> None:
        saw("progress", done=int(done), total=None if total is None else int(total))
        self.missing -= 1
        if self.missing == 0:
            self.complete.set()

    async def go(
        self, list_tools: Callable[[], Awaitable[list]], call: Callable[[str, dict, Callable], Awaitable[list]]
    ) -> None:
        saw("tools", names=[tool.name for tool in await list_tools()])
        for tool, arguments, steps in json.loads(os.environ.get("LLAMAPOOL_CALLS", "null")) or CALLS:
            self.missing, self.complete = steps, anyio.Event()
            content = await call(tool, arguments, self.progress)
            # A client may hand over the last notification after the result that came behind it.
            if steps > 0:
                await self.complete.wait()
            saw("result", tool=tool, text="".join(part.text for part in content))
