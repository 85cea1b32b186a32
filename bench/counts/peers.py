"""The peers that are counted in the same way, for the call of the benchmark: rathole, nginx, and the provider itself.

Each is started as in the benchmark, but nginx in one process: valgrind cannot be asked for the counts of one that it only followed
through a fork. What the kernel does for them is in no figure, and is the larger part for a tunnel that parses
nothing.
"""

from counts.cases import count_tool_calls
from counts.count import CountedRig
from paths import nginx, rathole
from rig.route import Route

# How the processes of each are called.
PEERS = {"rathole": ("rathole-",), "nginx": ("nginx-",), "http-echo": ("http-echo",)}


class PeerRig(CountedRig):
    """A rig that starts nginx as one process."""

    def start(self, role, name, command, env=None):
        return super().start(role, name, [*command, "-g", "master_process off;"] if name.startswith("nginx-") else command, env)


def count_peers(programs, keep, effort):
    """Yields the name of each peer and its count."""
    for peer, names in PEERS.items():
        with PeerRig(programs, keep, names) as rig:
            yield peer, count_tool_calls(rig, f"peer {peer}", start(rig, peer).wait(), effort)


def start(rig, peer):
    port = rig.port()
    provider = rig.start("provider", "http-echo", [rig.parts.programs["http-echo"], port])
    if peer == "http-echo":
        return Route(peer, f"http://127.0.0.1:{port}/mcp", [provider])
    return {"rathole": rathole, "nginx": nginx}[peer].http(rig, port)
