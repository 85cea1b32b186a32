"""The memory of an idle relay on the server, by number of relays, and in its own process.

Relays are real processes with a tunnel each; the server's resident memory is compared with its memory without relays.

Samples: `idle relay on the server` (KB for each relay), `idle relay itself` (MB, proportional), `server with relays` (MB),
`idle relays cpu` (ms of the server's processor time a second for all of them).
"""

import time

from paths.herd import Herd
from rig.processes import cpu_seconds, memory, resident

# The time that a herd rests before it is measured: more than one heartbeat.
REST_SECONDS = 7


def run(rig, plan, provider_port):
    for turn in range(plan.herd_rounds):
        herd = Herd(rig, provider_port)
        empty = resident(herd.server.pid)
        for count in plan.relays:
            if not herd.fits(count):
                rig.note(f"idle relays: there is no memory for {count} of them on this machine now")
                break
            if not herd.grow(count):
                rig.note(f"idle relays: not all of {count} connected in time")
                break
            _look(rig, herd, (turn, count, empty))
        herd.end()


def _look(rig, herd, what):
    turn, count, empty = what
    before = cpu_seconds([herd.server.pid])
    time.sleep(REST_SECONDS)
    busy = (cpu_seconds([herd.server.pid]) - before) / REST_SECONDS
    full = resident(herd.server.pid)
    some = [relay.pid for relay in herd.relays[:20]]
    figures = {
        "idle relay on the server": ((full - empty) / count / 1e3, "KB"),
        "server with relays": (full / 1e6, "MB"),
        "idle relay itself": (memory(some) / len(some) / 1e6, "MB"),
        "idle relays cpu": (1e3 * busy, "ms/s"),
    }
    for name, figure in figures.items():
        rig.sample(name, "llamapool", count, turn, figure)
