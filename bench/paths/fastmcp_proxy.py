"""The proxy that is part of fastmcp from PyPI, in front of a provider that speaks HTTP or is a program.

It is the code of fastmcp's documents, `create_proxy(target)`, without additions.
"""

from rig.route import CALLS, Route

PROGRAM = """
import sys
from fastmcp.server import create_proxy
what, target, port = sys.argv[1:]
target = target if what == "http" else {"mcpServers": {"bench": {"command": target, "args": []}}}
create_proxy(target).run("http", host="127.0.0.1", port=int(port), show_banner=False, log_level="error",
                         uvicorn_config={"access_log": False})
"""


def http(rig, provider_port):
    return _route(rig, ["http", f"http://127.0.0.1:{provider_port}/mcp"])


def stdio(rig):
    return _route(rig, ["stdio", rig.parts.programs["stdio-echo"]])


def _route(rig, target):
    port = rig.port()
    program = rig.file("fastmcp_proxy_main.py", PROGRAM)
    process = rig.start("private", "fastmcp-proxy", [rig.parts.programs["fastmcp"], program, *target, port])
    return Route("fastmcp-proxy", f"http://127.0.0.1:{port}/mcp", [process], CALLS, in_session=True)


http.needs = stdio.needs = ["fastmcp"]
