"""Calls through a server with one worker thread, and through one with two.

Samples: those of `calls` by the name `threads`.
"""

from measures.calls import take
from paths import llamapool
from rig.further import further_rounds
from rig.lineup import Lineup, bound

CONNECTIONS = (32, 128)


def run(rig, plan, provider):
    """`provider` is its port and its process."""
    port, pid = provider
    lineup = Lineup(rig, plan, [bound(start, rig, port) for start in (llamapool.one_thread, llamapool.two_threads)], pid)
    lineup.warm()
    for connections in CONNECTIONS:
        def take_turn(turn, route, connections=connections):
            take(rig, lineup, (turn, route, connections), "threads")

        for turn, route in lineup.turns():
            take_turn(turn, route)
        what = "threads cpu public", connections
        further_rounds(rig, lineup, what, take_turn, llamapool.ONE_THREAD, [llamapool.TWO_THREADS])
    lineup.end()
