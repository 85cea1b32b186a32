"""Providers behind the same paths, beside the benchmark's own: nginx with one answer for all, and a real MCP server in Python.

nginx answers each POST with the bytes that the benchmark's provider would send to one call, so that nothing reads the request. The
server of fastmcp is the one of its documents, without sessions.
"""

from paths import direct, llamapool, nginx, rathole

# A number as long as those of the load.
STATIC_ID = 1_000_000_001
ANSWER = ('{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"ok"}],"resultType":"complete"}}' % STATIC_ID)
STATIC = """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($request_method != POST) {{ return 405; }}
            default_type application/json;
            return 200 '{answer}';
        }}
    }}
"""
FASTMCP = """
import sys
from fastmcp import FastMCP
server = FastMCP("bench")

@server.tool
def echo() -> str:
    return "ok"

server.run("http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="error", stateless_http=True,
           json_response=True, uvicorn_config={"access_log": False})
"""


def static_nginx(rig):
    """Starts it, and returns its process and port."""
    port = rig.port()
    http = STATIC.format(port=port, answer=ANSWER)
    return nginx.start_process(rig, ("provider", "static-nginx"), port, (1, http)), port


def fastmcp_server(rig):
    """Starts it, and returns its process and port."""
    port = rig.port()
    command = [rig.parts.programs["fastmcp"], rig.file("fastmcp_server.py", FASTMCP), port]
    return rig.start("provider", "fastmcp-server", command), port


static_nginx.needs, fastmcp_server.needs = ["nginx"], ["fastmcp"]


def paths_to(provider):
    """Returns the starts of the paths to a provider; each takes the rig and the provider's port."""
    return [with_its_id(start, provider) for start in (direct.http, nginx.http, rathole.http, llamapool.http)]


def with_its_id(start, provider):
    """Wraps a start so that the path is known to answer with the id that the provider always sends."""
    def begin(rig, port):
        route = start(rig, port)
        route.answered_id = STATIC_ID if provider is static_nginx else None
        return route
    begin.needs, begin.__module__ = start.needs, start.__module__
    return begin


PROVIDERS = {"nginx": static_nginx, "fastmcp": fastmcp_server}
