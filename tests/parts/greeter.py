"""A small MCP server of the official SDK on standard input and output, whose greeting comes from its environment."""

import os

from mcp.server.fastmcp import FastMCP

app = FastMCP("greeter")


@app.tool()
def greet(name: str) -> str:
    """Greet by name."""
    return f"{os.environ['GREETING']}, {name}"


if __name__ == "__main__":
    app.run()
