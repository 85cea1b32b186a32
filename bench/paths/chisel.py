"""chisel: a tunnel for raw TCP over SSH over a WebSocket. A peer that the run does not install: see rig/peers.py.

SSH encrypts, and cannot be turned off: a part of its cost is what the others have without encryption here.
"""

from rig.route import Ends, Route


def http(rig, provider_port):
    ends = Ends.on_loopback(rig, provider_port)
    return Route("chisel", url(ends), [public_end(rig, ends), private_end(rig, ends)])


def public_end(rig, ends):
    command = [rig.parts.programs["chisel"], "server", "--host", ends.host, "--port", ends.control, "--reverse",
               "--auth", "bench:bench"]
    return rig.start("public", "chisel-server", command)


def private_end(rig, ends):
    remote = f"R:{ends.host}:{ends.port}:127.0.0.1:{ends.provider}"
    command = [rig.parts.programs["chisel"], "client", "--auth", "bench:bench", "--max-retry-interval", "100ms",
               f"http://{ends.host}:{ends.control}", remote]
    return rig.start("private", "chisel-client", command)


def url(ends):
    return f"http://{ends.host}:{ends.port}/mcp"


http.needs = ["chisel"]
