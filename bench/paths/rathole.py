"""rathole: a tunnel for raw TCP. It knows nothing of HTTP, so it is the mark for what a tunnel must cost.

The one rule: plain TCP between its two ends, which is what llamapool has here too.
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
