"""nfrx: the original llamapool, in Go. A peer that the run does not install: see rig/peers.py.

It has its default settings, except for the calls of one relay at once, of which it otherwise refuses all beyond 16. It carries whole
messages, and so calls alone. Its server listens on all addresses: it has no setting for that.
"""

from rig.route import CALLS, Ends, Route

KEY = "bench-key"
ID = "bench"


def http(rig, provider_port):
    ends = Ends.on_loopback(rig, provider_port)
    return Route("nfrx", url(ends), [public_end(rig, ends), private_end(rig, ends)], CALLS)


def public_end(rig, ends):
    command = [rig.parts.programs["nfrx"], "-port", ends.port, "-metrics-port", ends.port, "-client-key", KEY,
               "-mcp-max-concurrency-per-client", 4096, "-plugins", "mcp", "-log-level", "error"]
    return rig.start("public", "nfrx", command)


def private_end(rig, ends):
    command = [rig.parts.programs["nfrx-mcp"], "-reconnect", "-server-url", f"ws://{ends.host}:{ends.port}/api/mcp/connect",
               "-client-key", KEY, "-client-id", ID, "-provider-url", f"http://127.0.0.1:{ends.provider}/mcp",
               "-log-level", "error"]
    return rig.start("private", "nfrx-mcp", command)


def url(ends):
    return f"http://{ends.host}:{ends.port}/api/mcp/id/{ID}"


http.needs = ["nfrx", "nfrx-mcp"]
