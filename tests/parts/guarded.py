"""A FastMCP server that requires OAuth tokens, with FastMCP's own authorization server on the same origin.

Its own URL is the address that it listens on, as for a server that is not configured for llamapool.
"""

from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from loopback import serve_on_loopback

port = serve_on_loopback()
app = FastMCP(
    "guarded",
    auth=InMemoryOAuthProvider(
        base_url=f"http://127.0.0.1:{port}",
        client_registration_options=ClientRegistrationOptions(enabled=True),
    ),
)


@app.tool
def echo(text: str) -> str:
    """Give back the text."""
    return text


if __name__ == "__main__":
    app.run("http")
