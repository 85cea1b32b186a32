"""Streamed answers: how late the first event and each of the others come, and the processor time of one on each side.

The delays are those of streams one after another on an otherwise idle path. The processor time is that of many at once, each of 100
events: of the whole stream, divided by its events.

Samples: `llm first`, `llm token` (ms; the median of one round); `llm stream cpu public`, `llm stream cpu private` (µs an event),
`llm stream p50`, `llm stream p99` (ms from the runtime to the reader), `llm stream lost` (events that did not arrive).
"""

from statistics import median

from report.figures import percentile
from rig.chat_client import ChatStream, chat, events_of, request
from rig.event_reader import read_streams
from rig.lineup import spent
from rig.mcp_client import NotAnswered

# The time that the streams may take in addition to their duration.
GRACE_SECONDS = 15


def run(rig, lineup, _runtime_port):
    for turn, route in lineup.turns("streams"):
        one_by_one(rig, lineup.plan, (turn, route))
    for turn, route in lineup.turns("streams"):
        many(rig, lineup, (turn, route))


def one_by_one(rig, plan, what):
    turn, route = what
    streams, events, pause = plan.llm_lone_streams
    firsts, each = [], []
    for _ in range(streams):
        try:
            with ChatStream(route.url, route.headers, events, pause) as stream:
                came = stream.read(events)
        except (OSError, NotAnswered) as why:
            rig.note(f"llm streams, {route.name}: {why}")
            break
        firsts.append((came[0][0] - stream.asked) / 1e6)
        each += [(arrived - made) / 1e6 for arrived, made in came[1:]]
    if firsts:
        rig.sample("llm first", route.name, "", turn, (median(firsts), "ms"))
        rig.sample("llm token", route.name, "", turn, (median(each), "ms"))


def many(rig, lineup, what):
    turn, route = what
    count, events, pause = lineup.plan.llm_streams
    if "rate" not in route.carries:
        count = max(1, count // 8)
    body = chat(f"pause_ms={pause} events={events}", stream=True)
    before = lineup.cpu(route)
    try:
        streams = read_streams([route.url] * count, events * pause / 1e3 + GRACE_SECONDS, request(route.headers, body))
    except OSError as why:
        rig.note(f"llm streams, {route.name}: {why}")
        return
    roles, _ = spent(before, lineup.cpu(route))
    late = sorted((came - made) / 1e6 for stream in streams for came, made in events_of(stream))
    if not late:
        rig.note(f"llm streams, {route.name}: no event came")
        return
    figures = {"p50": (percentile(late, 50), "ms"), "p99": (percentile(late, 99), "ms"),
               "lost": (count * events - len(late), "events")}
    for role in ("public", "private"):
        if role in roles:
            figures[f"cpu {role}"] = (1e6 * roles[role] / len(late), "µs")
    for name, figure in figures.items():
        rig.sample(f"llm stream {name}", route.name, "", turn, figure)
