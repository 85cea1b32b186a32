"""The time until workers and their models are back after their server was killed and started again.

They count as back when the server's own list of models has the model with all of them. The times count from the kill, so that
the wait for the next attempt, which is random to spare the server, is included.

Samples: `return last` (ms until all were back), `return half` (ms until half of them were).
"""

import time

from measures.reconnect import LIMIT_SECONDS, STABLE_SECONDS
from paths.herd import Herd
from paths.llm import HEADERS, llm_url, start_worker
from rig.chat_client import workers

LOOK_SECONDS = 0.02


class WorkerHerd(Herd):
    """Many workers of llamapool, all with the same runtime."""

    def start_one(self, number):
        return start_worker(self.rig, self.ends, (f"worker-{number}", self.ends.provider))

    def connected(self):
        return workers(llm_url(self.ends), HEADERS)


def run(rig, plan):
    count = plan.llm_workers
    port = rig.port()
    runtime = rig.start("provider", "llm-mock", [rig.parts.programs["llm-mock"], port])
    herd = WorkerHerd(rig, port)
    if herd.fits(count) and herd.grow(count):
        for turn in range(plan.herd_rounds):
            restart(rig, herd, turn)
    else:
        rig.note(f"llm return: {count} workers could not be brought up")
    herd.end()
    rig.end([runtime])


def restart(rig, herd, turn):
    count = len(herd.relays)
    time.sleep(STABLE_SECONDS)
    killed = time.monotonic()
    herd.kill_server()
    herd.start_server()
    half = None
    while (back := herd.connected()) < count:
        now = time.monotonic()
        if half is None and back >= count / 2:
            half = now
        if now > killed + LIMIT_SECONDS:
            rig.note(f"llm return: after {LIMIT_SECONDS} s {back} of {count} workers were back")
            return
        time.sleep(LOOK_SECONDS)
    last = time.monotonic()
    rig.sample("return half", "llamapool", count, turn, (1e3 * ((half or last) - killed), "ms"))
    rig.sample("return last", "llamapool", count, turn, (1e3 * (last - killed), "ms"))
