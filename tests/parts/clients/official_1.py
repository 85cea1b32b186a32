"""The official Python client, before its second version: `official_1.py URL`, `official_1.py URL sse` for HTTP with SSE, or
`official_1.py - COMMAND…` for a server on the standard input and output of a command. Its calls and
output are described in `walk.py`.
"""

import os
import sys
from contextlib import AbstractAsyncContextManager

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from walk import FORM, LIMIT_SECONDS, MODEL, WORDS, Walk, saw


def reach(where: list[str]) -> AbstractAsyncContextManager:
    if where[1:] == ["sse"]:
        return sse_client(where[0])
    if where[0] != "-":
        return streamable_http_client(where[0])
    # Without `env`, the command would get only a few variables that the client considers harmless.
    return stdio_client(StdioServerParameters(command=where[1], args=where[2:], env=dict(os.environ)))


async def sample(_context: object, asked: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    saw("sampling", prompt=asked.messages[0].content.text)
    return types.CreateMessageResult(role="assistant", model=MODEL, content=types.TextContent(type="text", text=WORDS))


async def answer(_context: object, asked: types.ElicitRequestParams) -> types.ElicitResult:
    saw("elicitation", message=asked.message)
    return types.ElicitResult(action="accept", content=FORM)


async def main(where: list[str]) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        async with reach(where) as streams:
            async with ClientSession(
                streams[0], streams[1], sampling_callback=sample, elicitation_callback=answer
            ) as session:
                hello = await session.initialize()
                saw("initialize", server=hello.serverInfo.name, protocol=hello.protocolVersion)

                async def list_tools() -> list:
                    return (await session.list_tools()).tools

                async def call(tool: str, arguments: dict, progress: object) -> list:
                    return (await session.call_tool(tool, arguments, progress_callback=progress)).content

                await Walk().go(list_tools, call)
    saw("done")


anyio.run(main, sys.argv[1:])
