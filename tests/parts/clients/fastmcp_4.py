"""FastMCP's client: `fastmcp_4.py URL MODE`, where the mode is the era that it uses: `legacy`, or `auto` for the newest one that
both support; or `sse` for HTTP with SSE. Its calls and output are described in `walk.py`.
"""

import sys

import anyio
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import SSETransport

from walk import FORM, LIMIT_SECONDS, WORDS, Walk, saw


async def sample(messages: list, _params: object, _context: object) -> str:
    saw("sampling", prompt=messages[0].content.text)
    return WORDS


async def answer(message: str, _type: type | None, _params: object, _context: object) -> ElicitResult:
    saw("elicitation", message=message)
    return ElicitResult(action="accept", content=FORM)


async def main(url: str, mode: str) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        where = SSETransport(url) if mode == "sse" else url
        era = "legacy" if mode == "sse" else mode
        async with Client(where, mode=era, sampling_handler=sample, elicitation_handler=answer) as client:
            saw("initialize", server=client.server_info.name, protocol=client.protocol_version)

            async def call(tool: str, arguments: dict, progress: object) -> list:
                return (await client.call_tool(tool, arguments, progress_handler=progress)).content

            await Walk().go(client.list_tools, call)
    saw("done")


anyio.run(main, *sys.argv[1:])
