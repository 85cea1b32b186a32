"""The cases: for each, the path and the load whose instructions are counted.
"""

import json
from dataclasses import dataclass, replace
from functools import partial

from counts.count import least_of
from paths import llamapool, llm
from rig.chat_client import ChatStream
from rig.closed_loop import ChatCall, ClosedLoop, LoadFailed, LongToolCall, SizedToolCall, ToolCall
from rig.event_reader import read_streams
from rig.route import Runtimes

CONNECTIONS = 32
# As in the benchmark's figures of processor time of a call to an LLM.
FEW_CONNECTIONS = 16
# More than there are connections, so that no call waits.
SLOTS = 64
LARGE_BYTES = 64 * 1024
# Longer than an event takes under valgrind, so that each is sent alone.
EVENT_PAUSE_MS = 50
# Events in a hundred that may come together with another: what they save is in no figure.
TOGETHER_PERCENT = 2
# For all calls of one count: valgrind runs some fifty times slower than the processor.
SECONDS = 300


@dataclass(frozen=True)
class Effort:
    """The calls before a count and in it, and the streams: how often they are counted, with how many events."""

    # Until the allocator's pages, buffers and connections are there.
    warm_calls: int = 1000
    # With fewer, what happens from time to time is a matter of luck.
    calls: int = 4000
    # A call to an LLM takes longer, and its figure is as steady.
    chat_warm_calls: int = 500
    chat_calls: int = 2000
    large_warm_calls: int = 100
    large_calls: int = 500
    stream_counts: int = 5
    stream_events: tuple = (10, 60)


WHOLE = Effort()
# With few more instructions a call than the whole form, and as steady on a machine with other work.
SHORT = Effort(warm_calls=400, calls=1200, stream_counts=4, stream_events=(10, 50))
SHORT_CASES = ("mcp", "token")


def count_mcp(rig, cases, effort):
    provider_port = rig.port()
    rig.start("provider", "http-echo", [rig.parts.programs["http-echo"], provider_port])
    route = llamapool.http(rig, provider_port).wait()
    if "mcp" in cases:
        yield "mcp", count_tool_calls(rig, "mcp", route, effort)
    if "mcp 1 KB" in cases:
        what = LongToolCall(), FEW_CONNECTIONS, effort.chat_warm_calls, effort.chat_calls
        yield "mcp 1 KB", count_calls(rig, "mcp 1 KB", route, what)
    if "mcp 64 KB" in cases:
        large = replace(route, url=f"{route.url}/sized/{LARGE_BYTES}")
        what = SizedToolCall(LARGE_BYTES), FEW_CONNECTIONS, effort.large_warm_calls, effort.large_calls
        yield "mcp 64 KB", count_calls(rig, "mcp 64 KB", large, what)
    if "event" in cases:
        yield "event", count_streams(rig, ("event", route), effort, partial(read_tool_stream, route))


def count_llm(rig, cases, effort):
    route = llm.as_asked(rig, start_runtime(rig)).wait()
    if "llm" in cases:
        yield "llm", count_chats(rig, "llm", route, effort)
    if "token" in cases:
        yield "token", count_streams(rig, ("token", route), effort, partial(read_chat_stream, route))


def count_assembled(rig, _, effort):
    yield "assembled", count_chats(rig, "assembled", llm.assembled(rig, start_runtime(rig)).wait(), effort)


FAMILIES = {count_mcp: ["mcp", "mcp 1 KB", "mcp 64 KB", "event"], count_llm: ["llm", "token"], count_assembled: ["assembled"]}
CASES = [case for cases in FAMILIES.values() for case in cases]


# --- Calls --------------------------------------------------------------------------------------------------------------------


def count_tool_calls(rig, case, route, effort):
    """Counts the call of the benchmark."""
    return count_calls(rig, case, route, (ToolCall(), CONNECTIONS, effort.warm_calls, effort.calls))


def count_chats(rig, case, route, effort):
    return count_calls(rig, case, route, (ChatCall(route.headers), FEW_CONNECTIONS, effort.chat_warm_calls, effort.chat_calls))


def count_calls(rig, case, route, what):
    call, connections, warm_calls, calls = what
    load = ClosedLoop(route.url, connections, call)
    load.run(warm_calls, SECONDS)
    count = rig.count(case, route, calls, lambda: load.run(calls, SECONDS))
    load.close()
    return count


def start_runtime(rig):
    port = rig.port()
    rig.start("provider", "llm-mock", [rig.parts.programs["llm-mock"], port])
    return Runtimes((port,), SLOTS)


# --- Streams ------------------------------------------------------------------------------------------------------------------


def count_streams(rig, what, effort, read_stream):
    """Counts the events of streams: of one with many events less one with few, so that its beginning and end are in no figure.

    Both take the same time, so that what is done by the clock is in none either. `read_stream` reads so many events with so long a
    pause, and returns the times at which they came.
    """
    case, route = what
    few, many = effort.stream_events
    read_stream(few, EVENT_PAUSE_MS)
    pauses = {few: EVENT_PAUSE_MS * many // few, many: EVENT_PAUSE_MS}
    least, most = (count_one_by_one((rig, case, route), events, effort.stream_counts, lambda e=events: read_stream(e, pauses[e]))
                   for events in (few, many))
    return most.less(least)


def count_one_by_one(what, events, times, read_stream):
    """Counts a stream several times, and returns the least of each side.

    Whether the two pieces of an event are read from the tunnel one by one is chance, the same for all events of a stream. A stream
    with events that came together, on a machine with much other work, counts only where there is no other.
    """
    rig, case, route = what
    alone, together = [], []
    while len(alone) < times and len(alone) + len(together) < 2 * times:
        came = []
        count = rig.count(case, route, events, lambda: came.extend(read_stream()))
        clean = (len(came) - len(set(came))) * 100 <= events * TOGETHER_PERCENT
        (alone if clean else together).append(count)
    return least_of(alone or together)


def read_chat_stream(route, events, pause_ms):
    with ChatStream(route.url, route.headers, events, pause_ms) as stream:
        return [came for came, _ in stream.read(events)]


def read_tool_stream(route, events, pause_ms):
    """Reads the answer to an MCP call that is an event stream."""
    (stream,) = read_streams([f"{route.url}/events/{events}/{pause_ms}"], SECONDS, tool_call_request)
    came = [came for came, _ in stream.events()]
    if len(came) != events:
        raise LoadFailed(f"a stream had {len(came)} of {events} events")
    return came


def tool_call_request(target):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}})
    return (f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nAccept: application/json, text/event-stream\r\n"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}")
