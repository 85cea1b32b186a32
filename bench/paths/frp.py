"""frp: a tunnel for raw TCP, among others. A peer that the run does not install: see rig/peers.py.

Its two ends use plain TCP, as llamapool does here; TLS between them is frp's default.
"""

from rig.route import Ends, Route

SERVER = """
bindAddr = "{ends.host}"
bindPort = {ends.control}
proxyBindAddr = "{ends.host}"
auth.token = "bench"
log.level = "warn"
"""
CLIENT = """
serverAddr = "{ends.host}"
serverPort = {ends.control}
auth.token = "bench"
loginFailExit = false
transport.tls.enable = false
log.level = "warn"
[[proxies]]
name = "echo"
type = "tcp"
localIP = "127.0.0.1"
localPort = {ends.provider}
remotePort = {ends.port}
"""


def http(rig, provider_port):
    ends = Ends.on_loopback(rig, provider_port)
    return Route("frp", url(ends), [public_end(rig, ends), private_end(rig, ends)])


def public_end(rig, ends):
    config = rig.file(f"frps-{ends.port}.toml", SERVER.format(ends=ends))
    return rig.start("public", "frps", [rig.parts.programs["frps"], "--config", config])


def private_end(rig, ends):
    config = rig.file(f"frpc-{ends.port}.toml", CLIENT.format(ends=ends))
    return rig.start("private", "frpc", [rig.parts.programs["frpc"], "--config", config])


def url(ends):
    return f"http://{ends.host}:{ends.port}/mcp"


http.needs = ["frps", "frpc"]
