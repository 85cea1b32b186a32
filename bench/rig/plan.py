"""How much is measured: every number of a run, once for the whole and once for the quick one.

The one rule: what bounds a measure in count or time stands here and nowhere else.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    rounds: int
    # Calls as fast as they go: whole seconds (wrk knows no others) for each path, round and number of connections.
    call_seconds: int
    warm_seconds: int
    connections: tuple
    # Gateways are so much slower than the rest that a few of these say all.
    gateway_connections: tuple
    # Longer, as some answer a handful of calls a second.
    gateway_seconds: int
    # Calls at a fixed rate, in calls a second: far below what the slowest tunnel can do.
    fixed_rate: int
    fixed_connections: int
    fixed_seconds: float
    # Event streams, one after another: how many, events in each, milliseconds between two.
    lone_streams: tuple
    # Event streams at once, of ten events a second each, and for how many seconds.
    many_streams: int
    many_streams_seconds: int
    bulk_bytes: int
    # How many idle relays at once; a number for which there is no memory is left out.
    relays: tuple
    reconnecting: int
    # How often relays are started, and their server restarted.
    herd_rounds: int
    sessions: int
    stdio_connections: tuple
    # Connections over the slow link, seconds, and rounds.
    slow_link: tuple
    cold_starts: int


MIB = 1024 * 1024

WHOLE = Plan(
    rounds=5, call_seconds=2, warm_seconds=1, connections=(1, 16, 32, 128, 512), gateway_connections=(1, 32), gateway_seconds=4,
    fixed_rate=1000, fixed_connections=32, fixed_seconds=4,
    lone_streams=(50, 10, 5), many_streams=1000, many_streams_seconds=4,
    bulk_bytes=256 * MIB, relays=(100, 1000, 5000), reconnecting=1000, herd_rounds=2, sessions=50,
    stdio_connections=(1, 16), slow_link=(32, 4, 4), cold_starts=5,
)

QUICK = Plan(
    rounds=3, call_seconds=1, warm_seconds=1, connections=(1, 32, 128), gateway_connections=(32,), gateway_seconds=2,
    fixed_rate=1000, fixed_connections=32, fixed_seconds=2,
    lone_streams=(20, 5, 5), many_streams=200, many_streams_seconds=2,
    bulk_bytes=64 * MIB, relays=(100,), reconnecting=100, herd_rounds=2, sessions=10,
    stdio_connections=(16,), slow_link=(32, 2, 2), cold_starts=2,
)
