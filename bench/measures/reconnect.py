"""The time until relays are back after their server was killed and started again.

The times are from the server's own log. They count from the kill, so that the wait for the next attempt, which is random to
spare the server, is included.

Samples: `reconnect p50`, `reconnect p99`, `reconnect last` (ms), `reconnect cpu` (µs of the server's processor time for each).
"""

import json
import time
from datetime import datetime

from paths.herd import Herd
from report.figures import percentile
from rig.processes import cpu_seconds

LIMIT_SECONDS = 90
LOGGED = ["--log-level", "info", "--log-format", "json"]
# A connection must last this long for its relay to wait as after a first loss (a little more than RECONNECT_STABLE_AFTER).
STABLE_SECONDS = 11


def run(rig, plan, provider_port):
    count = plan.reconnecting
    herd = Herd(rig, provider_port, LOGGED)
    if herd.fits(count) and herd.grow(count):
        for turn in range(plan.herd_rounds):
            _restart(rig, herd, turn)
    else:
        rig.note(f"reconnect: {count} relays could not be brought up")
    herd.end()


def _restart(rig, herd, turn):
    count = len(herd.relays)
    time.sleep(STABLE_SECONDS)
    killed = datetime.now().timestamp()
    herd.kill_server()
    herd.start_server()
    if not herd.wait_for_relays(count, LIMIT_SECONDS):
        rig.note(f"reconnect: after {LIMIT_SECONDS} s {herd.connected()} of {count} relays were back")
    busy = cpu_seconds([herd.server.pid])
    times = sorted(1e3 * (at - killed) for at in _connected(herd.server.log))
    if times:
        figures = {"p50": (percentile(times, 50), "ms"), "p99": (percentile(times, 99), "ms"), "last": (times[-1], "ms"),
                   "cpu": (1e6 * busy / count, "µs")}
        for name, figure in figures.items():
            rig.sample(f"reconnect {name}", "llamapool", count, turn, figure)


def _connected(log):
    """Returns the times in the server's log at which each relay connected, in seconds since 1970."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if "relay connected" in line)
    return [datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).timestamp() for line in lines]
