"""The official Python client as of its second version: `official_2.py URL MODE`, where the mode is the era that it uses: `legacy`,
or `auto` for the newest one that both support. Its calls and output are described in `walk.py`.
"""

import sys

import anyio
from mcp import Client, types

from walk import FORM, LIMIT_SECONDS, MODEL, WORDS, Walk, saw


async def sample(_context: object, asked: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    saw("sampling", prompt=asked.messages[0].content.text)
    return types.CreateMessageResult(role="assistant", model=MODEL, content=types.TextContent(type="text", text=WORDS))


async def answer(_context: object, asked: types.ElicitRequestParams) -> types.ElicitResult:
    saw("elicitation", message=asked.message)
    return types.ElicitResult(action="accept", content=FORM)


async def main(url: str, mode: str) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        async with Client(url, mode=mode, sampling_callback=sample, elicitation_callback=answer) as client:
            saw("initialize", server=client.server_info.name, protocol=client.protocol_version)

            async def list_tools() -> list:
                return (await client.list_tools()).tools

            async def call(tool: str, arguments: dict, progress: object) -> list:
                return (await client.call_tool(tool, arguments, progress_callback=progress)).content

            await Walk().go(list_tools, call)
    saw("done")


anyio.run(main, *sys.argv[1:])
