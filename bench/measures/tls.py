"""Calls over TLS: on connections that stay open, and with a new connection for each.

The load generator does its part of each handshake on the same cores, on every path alike.

Samples: those of `calls`, as `tls calls` and, with a connection for each call, as `tls connections`.
"""

from dataclasses import replace

from measures import calls
from paths import tls
from rig.lineup import Lineup, bound

# A new connection for each call is no matter of their number.
NEW_CONNECTIONS = 32


def run(rig, plan, provider):
    """`provider` is its port and its process."""
    port, pid = provider
    lineup = Lineup(rig, plan, [bound(start, rig, port) for start in tls.ALL], pid)
    lineup.warm()
    for connections in plan.connections:
        for turn, route in lineup.turns():
            calls.take(rig, lineup, (turn, route, connections), "tls calls")
    for turn, route in lineup.turns():
        closing = replace(route, headers={**route.headers, "Connection": "close"})
        calls.take(rig, lineup, (turn, closing, NEW_CONNECTIONS), "tls connections")
    lineup.end()
