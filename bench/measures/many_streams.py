"""Many concurrent event streams with ten events a second each: the delay, loss and cost of events.

The reader is in Python and uses some of the machine, the same for all paths.

Samples: `many streams p50`, `many streams p99` (ms), `many streams cpu public`, `many streams cpu private` (µs for each event),
`many streams lost` (events that did not arrive).
"""

from rig.event_reader import read_streams
from rig.lineup import spent
from report.figures import percentile

PAUSE_MS = 100
# The time that the streams may take in addition to their duration.
GRACE_SECONDS = 10


def run(rig, lineup):
    plan = lineup.plan
    events = plan.many_streams_seconds * 1000 // PAUSE_MS
    for turn, route in lineup.turns("streams", plan.few_rounds):
        urls = [f"{route.url}/events/{events}/{PAUSE_MS}"] * plan.many_streams
        before = lineup.cpu(route)
        try:
            streams = read_streams(urls, plan.many_streams_seconds + GRACE_SECONDS)
        except OSError as why:
            rig.note(f"many streams, {route.name}: {why}")
            continue
        roles, _ = spent(before, lineup.cpu(route))
        late = sorted((came - made) / 1e6 for stream in streams for came, made in stream.events())
        if not late:
            rig.note(f"many streams, {route.name}: no event came")
            continue
        figures = {"p50": (percentile(late, 50), "ms"), "p99": (percentile(late, 99), "ms"),
                   "lost": (plan.many_streams * events - len(late), "events")}
        for role in ("public", "private"):
            if role in roles:
                figures[f"cpu {role}"] = (1e6 * roles[role] / len(late), "µs")
        for name, figure in figures.items():
            rig.sample(f"many streams {name}", route.name, plan.many_streams, turn, figure)
