"""The plan: every number of a run: for the complete one, the quick one, and the one that only tries whether everything works.

All bounds of measures in count or time are defined here. The complete run ends within thirty minutes on two cores, with the peers that
it installs. It has all measures but `tls`, `llm_cancel`, `llm_prompts`, `llm_keys`, `llm_failover` and `llm_return`, which are run by
their names. By name and in seconds:

    calls 200, apart 150, latency 70, events 50, many_streams 90, bulk 40, further rounds of calls and apart up to 70
    providers 280, and further rounds up to 120; threads 30 to 50; stdio 110, sessions 30
    llm_calls 150, llm_latency 40, llm_streams 80, with the start of the routers
    idle_relays 90, reconnect 100, slow_link 50, cold_start 40
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    # The measures of a run that names none.
    measures: frozenset
    rounds: int
    # Rounds of what takes long and changes little.
    few_rounds: int
    # Further rounds of ratios that are not known well: the seconds that each case adds to the time for them, and the rounds in all.
    further_seconds: float
    most_rounds: int
    # Calls at full speed: whole seconds (the only unit of wrk) for each path, round and number of connections.
    call_seconds: int
    warm_seconds: int
    connections: tuple
    # Gateways are so much slower than the rest that a few of these suffice.
    gateway_connections: tuple
    # Longer, as some answer a handful of calls a second.
    gateway_seconds: int
    # LLMs: rounds of what changes little between them, the connections of calls, the seconds of a turn.
    llm_rounds: int
    llm_few_rounds: int
    llm_connections: tuple
    llm_seconds: int
    # Calls at a fixed rate: connections, calls a second, seconds.
    llm_fixed: tuple
    # Streams one after another, and at once: their number, events in each, milliseconds between two.
    llm_lone_streams: tuple
    llm_streams: tuple
    # Callers that leave in a round, seconds of a flood, workers that come back.
    llm_leaves: int
    llm_flood_seconds: int
    llm_workers: int
    # Calls at a fixed rate, in calls a second: far below the capacity of the slowest tunnel.
    fixed_rate: int
    fixed_connections: int
    fixed_seconds: float
    # Event streams, one after another: their number, events in each, milliseconds between two.
    lone_streams: tuple
    # Concurrent event streams, of ten events a second each, and their duration in seconds.
    many_streams: int
    many_streams_seconds: int
    bulk_bytes: int
    # Numbers of idle relays; one for which there is no memory is omitted.
    relays: tuple
    reconnecting: int
    # Rounds of starting relays, and of restarting their server.
    herd_rounds: int
    sessions: int
    stdio_connections: tuple
    # Connections over the slow link, seconds, and rounds.
    slow_link: tuple
    cold_starts: int


MIB = 1024 * 1024

COMPLETE = frozenset({"calls", "apart", "latency", "events", "many_streams", "bulk", "stdio", "sessions", "llm_calls", "llm_latency",
                      "llm_streams", "providers", "threads", "idle_relays", "reconnect", "slow_link", "cold_start", "sizes"})
# What only `--only` runs besides.
BY_NAME = frozenset({"tls", "llm_cancel", "llm_prompts", "llm_keys", "llm_failover", "llm_return"})

WHOLE = Plan(
    measures=COMPLETE, rounds=5, few_rounds=3, further_seconds=8, most_rounds=40,
    call_seconds=1, warm_seconds=1, connections=(1, 32, 128, 512), gateway_connections=(1, 32), gateway_seconds=2,
    llm_rounds=3, llm_few_rounds=2, llm_connections=(1, 16, 64), llm_seconds=1, llm_fixed=(16, 500, 1),
    llm_lone_streams=(20, 5, 5), llm_streams=(100, 100, 10), llm_leaves=100, llm_flood_seconds=2, llm_workers=1000,
    fixed_rate=1000, fixed_connections=32, fixed_seconds=2,
    lone_streams=(30, 10, 5), many_streams=1000, many_streams_seconds=4,
    bulk_bytes=256 * MIB, relays=(100, 1000), reconnecting=1000, herd_rounds=2, sessions=20,
    stdio_connections=(1, 16), slow_link=(32, 3, 3), cold_starts=3,
)

QUICK = Plan(
    measures=COMPLETE, rounds=3, few_rounds=2, further_seconds=0, most_rounds=3,
    call_seconds=1, warm_seconds=1, connections=(1, 32, 128), gateway_connections=(32,), gateway_seconds=2,
    llm_rounds=2, llm_few_rounds=1, llm_connections=(1, 16, 64), llm_seconds=1, llm_fixed=(16, 500, 1),
    llm_lone_streams=(10, 5, 5), llm_streams=(50, 100, 10), llm_leaves=25, llm_flood_seconds=1, llm_workers=100,
    fixed_rate=1000, fixed_connections=32, fixed_seconds=2,
    lone_streams=(20, 5, 5), many_streams=200, many_streams_seconds=2,
    bulk_bytes=64 * MIB, relays=(100,), reconnecting=100, herd_rounds=2, sessions=10,
    stdio_connections=(16,), slow_link=(32, 2, 2), cold_starts=2,
)

TRY = Plan(
    measures=COMPLETE | BY_NAME, rounds=1, few_rounds=1, further_seconds=0, most_rounds=1,
    call_seconds=1, warm_seconds=1, connections=(1, 32), gateway_connections=(32,), gateway_seconds=1,
    llm_rounds=1, llm_few_rounds=1, llm_connections=(1, 16, 64), llm_seconds=1, llm_fixed=(16, 100, 1),
    llm_lone_streams=(3, 3, 5), llm_streams=(8, 20, 10), llm_leaves=3, llm_flood_seconds=1, llm_workers=20,
    fixed_rate=100, fixed_connections=32, fixed_seconds=1,
    lone_streams=(3, 3, 5), many_streams=20, many_streams_seconds=1,
    bulk_bytes=8 * MIB, relays=(20,), reconnecting=20, herd_rounds=1, sessions=3,
    stdio_connections=(16,), slow_link=(8, 1, 1), cold_starts=1,
)
