"""The walkthrough's clock as it is written for FastMCP 4, where a server's way of answering is said to `run`.

Stateless, and one JSON body per answer: the plainest provider there is.
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
