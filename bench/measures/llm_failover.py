"""One of two runtimes ends, or the worker beside it, while calls run whose answers have not begun.

Each turn has runtimes and a path of its own. The end is a kill, in the middle of the calls of many callers.

Samples, by what ended: `failover running` (calls that ran at that moment, at both runtimes), `failover answered`, `failover failed`
(of them), `failover slowest` (ms; the longest of the answered ones), `failover later` (calls that began in the two seconds after
it), `failover later failed`, `failover later slowest` (ms).
"""

import signal
import time

from paths.llm import LLM, WITH_WORKERS, direct
from rig.chat_loop import ChatLoop
from rig.mcp_client import NotAnswered
from rig.route import Runtimes

CALLERS = 32
# The time until an answer begins, in milliseconds.
WAIT_MS = 300
SLOTS = 64
BEFORE_SECONDS = 1
AFTER_SECONDS = 2


def run(rig, plan):
    for turn in range(plan.llm_few_rounds):
        for start in LLM:
            if start is direct or not all(rig.parts.has(part) for part in start.needs):
                continue
            for ending in ("runtime", "worker") if start in WITH_WORKERS else ("runtime",):
                take(rig, start, (turn, ending))


def take(rig, start, what):
    turn, ending = what
    ports = rig.port(), rig.port()
    runtimes = [rig.start("provider", "llm-mock", [rig.parts.programs["llm-mock"], port]) for port in ports]
    route = start(rig, Runtimes(ports, SLOTS))
    try:
        route.wait()
        victim = runtimes[0] if ending == "runtime" else next(each for each in route.processes if each.role == "private")
        sample(rig, (turn, ending, route.name), calls_around(route, victim))
    except NotAnswered as why:
        rig.note(f"llm failover, {route.name}: {why}")
    rig.end([*route.processes, *runtimes])


def calls_around(route, victim):
    """Returns all calls, and the moment at which the victim ended among them."""
    loop = ChatLoop(route, CALLERS, WAIT_MS)
    time.sleep(BEFORE_SECONDS)
    ended = time.monotonic()
    victim.end(signal.SIGKILL)
    time.sleep(AFTER_SECONDS)
    return loop.stop(), ended


def sample(rig, what, result):
    turn, ending, path = what
    calls, ended = result
    running = [call for call in calls if call.sent < ended < call.ended]
    later = [call for call in calls if call.sent >= ended]
    if before := [call.error for call in calls if call.ended <= ended and call.error]:
        rig.note(f"llm failover, {path}: {len(before)} calls failed before anything ended: {before[0]}")
    figures = {"running": (len(running), "calls"), "later": (len(later), "calls")}
    for name, group in (("", running), ("later ", later)):
        failed = [call for call in group if call.error]
        figures[f"{name}failed"] = (len(failed), "calls")
        if answered := [call.ended - call.sent for call in group if not call.error]:
            figures[f"{name}slowest"] = (1e3 * max(answered), "ms")
    figures["answered"] = (len(running) - figures["failed"][0], "calls")
    for name, figure in figures.items():
        rig.sample(f"failover {name}", path, ending, turn, figure)
