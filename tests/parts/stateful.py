"""A FastMCP 4 server with the features of MCP that are hard to forward: sessions, event streams, and requests to the client.

JSON answers and stateless calls are in `clock4.py`. Its check of the Host and Origin headers is on, the default of other servers; a
request for any other address than its own gets a 421.
"""

import asyncio
from collections import defaultdict

from fastmcp import Context, FastMCP
from large import take_large_requests
from loopback import serve_on_loopback
from sse_starlette import EventSourceResponse

app = FastMCP("stateful")

# Keep-alive comments would flush bytes that a faulty hop holds back until there are more.
EventSourceResponse.DEFAULT_PING_INTERVAL = 3600

heard: defaultdict[tuple[str, int], asyncio.Event] = defaultdict(asyncio.Event)
"""The steps of `count` that the client has received, by session."""


@app.tool
async def count(to: int, ctx: Context) -> int:
    """Count to a number and report every step, waiting after each until the client calls `hear`."""
    for step in range(1, to + 1):
        await ctx.report_progress(step, to, f"step {step}")
        await heard[ctx.session_id, step].wait()
    return to


@app.tool
async def hear(step: int, ctx: Context) -> None:
    """Let `count` go on: the client has heard of a step."""
    heard[ctx.session_id, step].set()


@app.tool
def echo(text: str) -> str:
    """Give back the text."""
    return text


@app.tool
async def ask(ctx: Context) -> str:
    """Ask the client for a name while the call is running, and say what it answered."""
    answer = await ctx.elicit("what is your name?", str)
    return f"hello {answer.data}" if answer.action == "accept" else answer.action


@app.tool
def whoami(ctx: Context) -> str:
    """The session the call came in."""
    return ctx.session_id


@app.tool
async def announce(ctx: Context) -> None:
    """Send the client a notification that belongs to no request: it takes the stream that the client has opened with GET."""
    await ctx.session.send_resource_list_changed()


if __name__ == "__main__":
    take_large_requests()
    serve_on_loopback()
    app.run("http", host_origin_protection=True)
