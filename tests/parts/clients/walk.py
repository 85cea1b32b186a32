"""The walk of every Python client here through the tools of `conformance/provider`, and its report.

One JSON object per line, each with the name of the observation in `saw`. The last one is `done`; without it the run has failed,
and standard error contains the reason. `clients.rs` checks the observations. `walk.mjs` is the same for Node. With other servers
the walk has the calls in LLAMAPOOL_CALLS, in JSON and in the form of CALLS here.

Nothing here waits by the clock, so that a lost notification ends the run at LIMIT_SECONDS.
"""

import json
import os
from collections.abc import Awaitable, Callable

import anyio

LIMIT_SECONDS = 25
# Tool, arguments, and the number of steps of progress.
CALLS = [
    ("test_simple_text", {}, 0),
    ("test_tool_with_progress", {}, 3),
    ("test_sampling", {"prompt": "Say grüße 🦙"}, 0),
    ("test_elicitation", {"message": "Who are you?"}, 0),
]
# The fixed answers of the model and the user behind these clients.
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
            # A client may report the last notification after the result that arrived behind it.
            if steps > 0:
                await self.complete.wait()
            saw("result", tool=tool, text="".join(part.text for part in content))
