"""mcp-proxy from PyPI: makes a program reachable over HTTP, one process for all sessions.

By default it logs each call, so that this is turned off.
"""

from rig.route import CALLS, Route


def stdio(rig):
    port = rig.port()
    command = [rig.parts.programs["mcp-proxy (Python)"], "--host", "127.0.0.1", "--port", port, "--log-level", "ERROR",
               rig.parts.programs["stdio-echo"]]
    process = rig.start("private", "python-mcp-proxy", command)
    return Route("python-mcp-proxy", f"http://127.0.0.1:{port}/mcp", [process], CALLS, in_session=True)


stdio.needs = ["mcp-proxy (Python)"]
