"""Lets a FastMCP server of these tests accept requests of any size that the tests send.

Call `take_large_requests` before the server starts. The official SDK, on which FastMCP is built, refuses requests of more than
4 MiB, and FastMCP has no setting for that.
"""

import functools

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""The default limit of llamapool."""


def take_large_requests() -> None:
    """Raise the limit of every later session manager."""
    patient = functools.partialmethod(StreamableHTTPSessionManager.__init__, max_request_body_size=MAX_REQUEST_BYTES)
    StreamableHTTPSessionManager.__init__ = patient
