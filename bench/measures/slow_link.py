"""The same calls with a distant private side: 50 ms for a round trip, one packet in a hundred lost each way.

The caller is beside the public end, so that only the tunnel is slow; on the direct path, the caller itself is at the far end.

Samples: `slow link calls` (a second), `slow link p50`, `slow link p99` (ms).
"""

from paths import bore, chisel, frp, llamapool, nfrx, rathole
from rig.load import LoadFailed, at_full_speed
from rig.mcp_client import NotAnswered
from rig.route import Ends, Route
from rig.wire import ADDRESSES, NotPermitted, Wire

ONE_WAY_MS, LOSS_PERCENT = 25, 1


def run(rig, plan):
    try:
        wire = Wire(rig, ONE_WAY_MS, LOSS_PERCENT)
    except NotPermitted as why:
        rig.note(f"slow link: left out, as this machine permits no link of its own: {why}")
        return
    started = [wire.process]
    try:
        routes = _start(rig, wire, started)
        connections, seconds, rounds = plan.slow_link
        for turn in range(rounds):
            for route in routes:
                _take(rig, wire, route, (turn, connections, seconds))
    finally:
        rig.end(started)
        wire.remove()


def _start(rig, wire, started):
    port = rig.port()
    with wire.side("private"):
        started.append(rig.start("provider", "http-echo", [rig.parts.programs["http-echo"], port, "0.0.0.0"]))
    routes = [Route("direct", f"http://{ADDRESSES['private']}:{port}/mcp", [])]
    for path in (rathole, bore, frp, chisel, llamapool, nfrx):
        if not all(rig.parts.has(part) for part in path.http.needs):
            continue
        control = bore.CONTROL_PORT if path is bore else rig.port()
        ends = Ends(ADDRESSES["public"], control, rig.port(), port)
        with wire.side("public"):
            started.append(path.public_end(rig, ends))
        with wire.side("private"):
            started.append(path.private_end(rig, ends))
        routes.append(Route(path.__name__.split(".")[-1], path.url(ends), []))
    with wire.side("public"):
        return [route for route in routes if _answers(rig, route)]


def _answers(rig, route):
    try:
        route.wait()
    except NotAnswered as why:
        rig.note(f"slow link, {route.name}: {why}")
        return False
    return True


def _take(rig, wire, route, what):
    turn, connections, seconds = what
    try:
        with wire.side("public"):
            calls = at_full_speed(route, connections, seconds)
    except LoadFailed as why:
        rig.note(f"slow link, {route.name}: {why}")
        return
    if calls.failed:
        rig.note(f"slow link, {route.name}: {calls.failed} calls failed in a round")
    for name, figure in (("calls", (calls.answered / calls.seconds, "1/s")), ("p50", (calls.p50, "ms")),
                         ("p99", (calls.p99, "ms"))):
        rig.sample(f"slow link {name}", route.name, connections, turn, figure)
