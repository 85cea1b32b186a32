"""Lets a FastMCP server of these tests take requests of any size that the tests send.

The one rule to know: call `take_large_requests` before the server starts. The official SDK, on which FastMCP is built, refuses
requests of more than 4 MiB, and FastMCP has no setting for that.
"""

import functools

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""As much as llamapool lets through by default."""


def take_large_requests() -> None:
    """Raise the bound of every session manager to come."""
    patient = functools.partialmethod(StreamableHTTPSessionManager.__init__, max_request_body_size=MAX_REQUEST_BYTES)
    StreamableHTTPSessionManager.__init__ = patient
