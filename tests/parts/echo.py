"""A server for FastMCP 2.11.3 that returns large texts: stateless, JSON answers, and `/mcp/` is a redirect, as in `clock.py`."""

from fastmcp import FastMCP
from large import take_large_requests
from loopback import serve_on_loopback

app = FastMCP("echo", stateless_http=True, json_response=True)


@app.tool
def echo(text: str) -> str:
    """Give back the text."""
    return text


if __name__ == "__main__":
    take_large_requests()
    serve_on_loopback()
    app.run("http")
