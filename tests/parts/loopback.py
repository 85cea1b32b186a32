"""Keeps a FastMCP server of these tests on its own loopback port, and ends it with the test that started it.

It contains nothing about MCP. Import and call `serve_on_loopback` before the server starts, and start the program with a pipe as its
standard input; the program ends when that pipe closes.

FastMCP starts uvicorn, and uvicorn listens on the address of this module, whatever host and port the program itself asked for.
Only uvicorn has the moment from which it accepts, so that the line `ready <port>` is printed here, too, as the only line on
standard output.
"""

import argparse
import os
import socket
import sys
import threading

import uvicorn


def serve_on_loopback() -> int:
    """Let the uvicorn server that is started next listen on `--port` (0, the default, is any free one), and return the port."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=0)
    listener = bind(arguments.parse_args().port)
    threading.Thread(target=end_with_stdin, daemon=True).start()

    start = uvicorn.Server.startup

    async def start_here(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await start(server, sockets=[listener])
        print("ready", listener.getsockname()[1], flush=True)

    uvicorn.Server.startup = start_here
    return listener.getsockname()[1]


def bind(port: int) -> socket.socket:
    """Bound, not yet listening: until uvicorn has started, the kernel refuses connections."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def end_with_stdin() -> None:
    """End with the test process, whose end closes the pipe."""
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)
