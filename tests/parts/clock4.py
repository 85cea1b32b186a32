"""The walkthrough's clock for FastMCP 4, where the transport is an argument of `run`.

Stateless, and one JSON body per answer: the simplest possible provider.
"""

from datetime import datetime

from fastmcp import FastMCP
from loopback import serve_on_loopback

app = FastMCP("clock")


@app.tool("time/now")
def now() -> str:
    return datetime.now().isoformat()


if __name__ == "__main__":
    serve_on_loopback()
    app.run("http", stateless_http=True, json_response=True)
