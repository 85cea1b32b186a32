"""rathole: a tunnel for raw TCP. It parses no HTTP, and so marks the minimal cost of a tunnel.

Its two ends use plain TCP, as llamapool does here.
"""

from rig.route import Ends, Route

SERVER = """
[server]
bind_addr = "{ends.host}:{ends.control}"
default_token = "bench"
[server.services.echo]
bind_addr = "{ends.host}:{ends.port}"
"""
CLIENT = """
[client]
remote_addr = "{ends.host}:{ends.control}"
default_token = "bench"
[client.services.echo]
local_addr = "127.0.0.1:{ends.provider}"
"""


def http(rig, provider_port):
    ends = Ends.on_loopback(rig, provider_port)
    return Route("rathole", url(ends), [public_end(rig, ends), private_end(rig, ends)])


def public_end(rig, ends):
    config = rig.file(f"rathole-server-{ends.port}.toml", SERVER.format(ends=ends))
    return rig.start("public", "rathole-server", [rig.parts.programs["rathole"], "--server", config])


def private_end(rig, ends):
    config = rig.file(f"rathole-client-{ends.port}.toml", CLIENT.format(ends=ends))
    return rig.start("private", "rathole-client", [rig.parts.programs["rathole"], "--client", config])


def url(ends):
    return f"http://{ends.host}:{ends.port}/mcp"


http.needs = ["rathole"]
