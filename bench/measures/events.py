"""The time from the request to the first event of a stream, and from the provider to the reader for each event.

Streams come one after another on an otherwise idle path, so that nothing but the path takes time.

Samples: `first event`, `event` (ms; the median of one round).
"""

from statistics import median

from rig.event_reader import read_streams

STREAM_SECONDS = 10


def run(rig, lineup):
    streams, events, pause = lineup.plan.lone_streams
    for turn, route in lineup.turns("streams"):
        firsts, each = [], []
        for _ in range(streams):
            (stream,) = read_streams([f"{route.url}/events/{events}/{pause}"], STREAM_SECONDS)
            came = stream.events()
            if len(came) < events:
                rig.note(f"events, {route.name}: a stream had {len(came)} of {events} events")
                continue
            firsts.append((came[0][0] - stream.asked) / 1e6)
            each += [(arrived - made) / 1e6 for arrived, made in came[1:]]
        if firsts:
            rig.sample("first event", route.name, "", turn, (median(firsts), "ms"))
            rig.sample("event", route.name, "", turn, (median(each), "ms"))
