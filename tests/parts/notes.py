"""A FastMCP 4 server that prints every call of its tools as a line, `called {"tool": …, "arguments": …}`, for tests that assert on what
an MCP server saw."""

import json

from fastmcp import FastMCP
from loopback import serve_on_loopback

app = FastMCP("notes")
notes: list[str] = []


def saw(tool: str, **arguments: object) -> None:
    print("called", json.dumps({"tool": tool, "arguments": arguments}), flush=True)


@app.tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    saw("add", a=a, b=b)
    return str(a + b)


@app.tool
def write_note(text: str) -> str:
    """Write a note down."""
    saw("write_note", text=text)
    notes.append(text)
    return f"note {len(notes)}"


@app.tool
def read_notes() -> str:
    """Read all notes, one a line."""
    saw("read_notes")
    return "\n".join(notes)


if __name__ == "__main__":
    serve_on_loopback()
    app.run("http")
