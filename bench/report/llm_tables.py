"""The tables of calls to LLMs, the bars that they are held against, and the one sentence of the README about them.

A bar is an upper bound that was set before anything was measured. Whether it is met is decided by the median of the rounds.
"""

from paths import LABELS
from report.better import LLM, better
from report.numbers import number, text
from report.tables import added, connections, of, table_of

# The case at which processor time is compared.
CONNECTIONS = "16"
# The most connections, at which memory is measured.
MOST = "64"


def llm_tables(figures):
    tables = [bars, where_another_is_better, calls, cpu, latency, streams, cancel, failover, prompts, keys, comes_back, memory]
    return "\n\n".join(part for part in (table(figures) for table in tables) if part)


def bars(figures):
    """Returns each bar with its figure. A bar without a figure is left out."""
    workers = next(iter(figures.cases("return last")), "")
    rows = [
        ("processor time of a call, server and worker, 16 connections, µs", 60, figures.both_sides("llm cpu", "llamapool", CONNECTIONS)),
        ("the same, where the worker assembles a stream, µs", 60,
         figures.both_sides("llm cpu", "llamapool-assembled", CONNECTIONS)),
        ("processor time of a call ÷ that of an MCP call of its size", 1.35, _to_mcp(figures, "llamapool")),
        ("the same, where the worker assembles a stream", 1.35, _to_mcp(figures, "llamapool-assembled")),
        ("added to p50, 1 connection, ms", 0.3, figures.added("llm p50", "llamapool", "1")),
        ("added to p50, 16 connections at a fixed rate, ms", 0.3, figures.added("llm latency p50", "llamapool", CONNECTIONS)),
        ("processor time of a token, server and worker, µs", 25, figures.both_sides("llm stream cpu", "llamapool")),
        ("first token later than without llamapool, ms", 1, figures.added("llm first", "llamapool")),
        ("caller closes to runtime sees it, while it writes, p99, ms", 5, figures.get("llm left p99", "llamapool", "writing")),
        ("the same, before it writes, p99, ms", 5, figures.get("llm left p99", "llamapool", "reading")),
        ("caller closes to its place in the queue is free, p99, ms", 5, figures.get("llm left p99", "llamapool", "queued")),
        ("calls that failed with one of two runtimes, before their answer began", 0,
         figures.get("failover failed", "llamapool", "runtime")),
        ("calls that failed with one of two workers, before their answer began", 0,
         figures.get("failover failed", "llamapool", "worker")),
        (f"{workers} workers and their models back after the server was killed, ms", 3000,
         figures.get("return last", "llamapool", workers)),
        ("resident memory of the server, 64 connections, MB", 30, figures.get("llm memory public", "llamapool", MOST)),
        ("resident memory of the worker, 64 connections, MB", 30, figures.get("llm memory private", "llamapool", MOST)),
    ]
    lines = [f"| {what} | {bar:g} | {text(figure)} | {'yes' if figure.value <= bar else '**no**'} |"
             for what, bar, figure in rows if figure]
    if not lines:
        return ""
    return "\n".join(["### The bars", "", "Set before anything was measured. A bar is met if the median of the rounds is.", "",
                      "| | at most | measured | met |", "|---|---:|---:|---|", *lines])


def where_another_is_better(figures):
    return better(figures, LLM, "Where another is better for calls to LLMs")


def line(figures):
    """Returns one sentence for the README. Empty if calls to LLMs were not measured."""
    ours = figures.both_sides("llm cpu", "llamapool", CONNECTIONS)
    if not ours:
        return ""
    ratio = _to_mcp(figures, "llamapool")
    compared = f", {number(ratio.value)}× as much as an MCP call of its size" if ratio else ""
    peers = [(LABELS[path], figures.both_sides("llm cpu", path, CONNECTIONS)) for path in LABELS
             if path not in ("llamapool", "llamapool-assembled", "llamapool-mcp")]
    others = "; ".join(f"{label} {number(figure.value)}" for label, figure in peers if figure)
    beside = f" In the same run, where routers are one hop: {others}." if others else ""
    return (f"A call takes {number(ours.value)} µs of processor time, server and worker together{compared}.{beside} "
            "[All figures](docs/reference/performance.md#calls-to-llms).")


def calls(figures):
    columns = [(connections(case), of(figures, "llm", case)) for case in figures.cases("llm")]
    return table_of("Calls a second to an LLM runtime that costs nothing", """
        Requests and answers of 1 KiB, as fast as it goes. Routers dial their runtimes and are one hop; a tunnel and two nginx are
        two.""", columns)


def cpu(figures):
    columns = [(f"{side} side", of(figures, f"llm cpu {side}", CONNECTIONS)) for side in ("public", "private")]
    columns += [("both", lambda path: figures.both_sides("llm cpu", path, CONNECTIONS)),
                ("÷ llamapool", lambda path: figures.both_sides_ratio("llm cpu", path, "llamapool", CONNECTIONS)),
                ("÷ an MCP call", lambda path: _to_mcp(figures, path))]
    return table_of("Processor time of one call to an LLM (µs)", """
        With 16 connections, as the operating system counts it. Ratios are taken within each round. The MCP call goes through llamapool,
        and its request and answer have 1 KiB, too.""", columns)


def latency(figures):
    columns = [("1 connection, p50", of(figures, "llm p50", "1")), ("added", added(figures, "llm p50", "1")),
               ("16 at a fixed rate, p50", of(figures, "llm latency p50", CONNECTIONS)),
               ("added", added(figures, "llm latency p50", CONNECTIONS)),
               ("16 at a fixed rate, p99", of(figures, "llm latency p99", CONNECTIONS)),
               ("16 as fast as they go, p50", of(figures, "llm p50", CONNECTIONS))]
    return table_of("Latency of calls to an LLM (ms)", """
        One connection as fast as it goes; 16 at a fixed rate below the capacity of every path that is shown; and 16 as fast as they go,
        where calls wait for a processor. What is added is the difference to the runtime itself within each round.""", columns)


def streams(figures):
    columns = [("first token, ms", of(figures, "llm first")), ("added", added(figures, "llm first")),
               ("each token, ms", of(figures, "llm token")), ("added", added(figures, "llm token")),
               ("public side, µs a token", of(figures, "llm stream cpu public")),
               ("private side, µs a token", of(figures, "llm stream cpu private")),
               ("both", lambda path: figures.both_sides("llm stream cpu", path)), ("lost", of(figures, "llm stream lost"))]
    return table_of("Streamed answers", """
        Delays of one stream after another: from the request to the first token, and from when the runtime made a token to when it was
        read. Processor time of streams at once, each of 100 tokens: that of the whole stream, divided by its tokens.""", columns)


def cancel(figures):
    names = {"writing": "while it writes", "reading": "before it writes", "queued": "in the queue"}
    columns = [(f"{name}, {percent}", of(figures, f"llm left {percent}", case))
               for case, name in names.items() for percent in ("p50", "p99")]
    columns += [(f"never, {name}", of(figures, "llm left never", case)) for case, name in list(names.items())[:2]]
    return table_of("From a caller's close to the runtime's (ms)", """
        A stream that has begun, a whole answer that has not, and a call that still waits for a slot: the last is the time until the list
        of models no longer counts it. *Never*: calls of a round that had not ended after seconds; after two of them a round has no
        more.""", columns)


def failover(figures):
    rows = {(path, case): f"{LABELS[path]}, {'its worker' if case == 'worker' else 'a runtime'} ends"
            for path in LABELS for case in ("runtime", "worker")}
    names = {"ran then": "running", "of them answered": "answered", "of them failed": "failed", "the slowest answer, ms": "slowest",
             "began later": "later", "of them failed, too": "later failed", "their slowest, ms": "later slowest"}
    columns = [(head, lambda row, n=name: figures.get(f"failover {n}", *row)) for head, name in names.items()]
    return table_of("One of two ends", """
        Two runtimes with 32 callers, whose answers begin after 300 ms; one runtime is killed, or the worker beside it. *Ran then*: the
        calls that ran at that moment, none of whose answers had begun. *Began later*: those of the two seconds after it.""",
                    columns, rows, rows)


def prompts(figures):
    columns = []
    for size in ("8 KiB", "100 KiB"):
        columns += [(f"{size}, calls a second", of(figures, f"llm {size}", CONNECTIONS)),
                    (f"{size}, both sides, µs", lambda path, s=size: figures.both_sides(f"llm {s} cpu", path, CONNECTIONS))]
    return table_of("Larger prompts", "16 connections.", columns)


def keys(figures):
    columns = [("alone, p50, ms", of(figures, "llm modest alone")), ("beside the flood, p50, ms", of(figures, "llm modest flooded")),
               ("the flood, calls a second", of(figures, "llm flood"))]
    return table_of("Two callers, one of which floods", """
        A runtime with 4 slots, which a call holds for 20 ms: one caller has a call at a time, the other has 64. Each has a key of its own
        where a path has keys, or is a user where it has users.""", columns)


def comes_back(figures):
    names = {"return half": "half of them were back, ms", "return last": "all were back, ms"}
    columns = [(f"{case} workers", lambda name, c=case: figures.get(name, "llamapool", c)) for case in figures.cases("return last")]
    return table_of("Workers back after the server was killed", """
        From the kill until the server's list of models has the model with all of them; the server is started again at once.""",
                    columns, names, names)


def memory(figures):
    columns = [(f"{side} side", of(figures, f"llm memory {side}", MOST)) for side in ("public", "private")]
    return table_of("Resident memory with 64 connections (MB)", """
        The largest of each process while calls of 1 KiB run, summed up over the processes of a side.""", columns)


def _to_mcp(figures, path):
    return figures.both_sides_ratio("llm cpu", path, "llamapool-mcp", CONNECTIONS)
