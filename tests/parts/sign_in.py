"""FastMCP's client signs in at the authorization server of `guarded.py` and calls a tool: `sign_in.py URL`.

It gets the URL alone and discovers the rest. It prints one JSON object a line: each requested URL, the tool's result, and `done`.
FastMCP's own client for tests acts as the browser.
"""

import json
import sys

import anyio
import httpx2
from fastmcp import Client
from fastmcp.utilities.tests import HeadlessOAuth

LIMIT_SECONDS = 25


def saw(what: str, **facts: object) -> None:
    print(json.dumps({"saw": what, **facts}), flush=True)


handle = httpx2.AsyncHTTPTransport.handle_async_request


async def seen(transport: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
    answer = await handle(transport, request)
    saw("asked", url=str(request.url.copy_with(query=None)), status=answer.status_code)
    return answer


async def main(url: str) -> None:
    httpx2.AsyncHTTPTransport.handle_async_request = seen
    with anyio.fail_after(LIMIT_SECONDS):
        async with Client(url, auth=HeadlessOAuth(url)) as client:
            result = await client.call_tool("echo", {"text": "grüße 🦙"})
            saw("result", text=result.content[0].text)
    saw("done")


anyio.run(main, *sys.argv[1:])
