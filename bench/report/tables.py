"""The tables of a result, as Markdown: one for each question, with its explanation above it.

A cell is the median of the rounds with the smallest and the largest in brackets; a dash was not measured.
"""

from paths import LABELS
from paths.llamapool import ONE_THREAD
from report.better import MCP, better
from report.numbers import number, percent, text
from rig.further import COMPARED, WITHIN

PROVIDERS = {"nginx": "nginx with a static answer", "fastmcp": "a server of fastmcp, in Python"}
# The measures of calls a second whose ratios are looked at, as they are called.
RATIOS = {"calls": "calls", "apart": "each side on its own core"}
RATIOS |= {f"calls to {name}": f"calls to {said}" for name, said in PROVIDERS.items()}
RATIOS |= {f"apart to {name}": f"calls to {said}, each side on its own core" for name, said in PROVIDERS.items()}


def all_tables(figures):
    tables = [where_another_is_better, calls, ratios, apart, to_providers, precision, idle_cores, cpu, threads, latency, events, many_streams, bulk, stdio, sessions, idle_relays, reconnect, slow_link, cold_start,
              sizes]
    return "\n\n".join(part for part in (table(figures) for table in tables) if part)


def summary(figures, versions):
    """Returns llamapool beside each tunnel in one small table, for the README. Empty if none was measured.

    Every cell is the factor by which llamapool is better: a peer is better where it is below 1.
    """
    better, slower = (lambda measure, case="": lambda peer: figures.ratio(measure, "llamapool", peer, case),
                      lambda measure, case="": lambda peer: figures.ratio(measure, peer, "llamapool", case))
    case = only(figures, "latency p50")
    columns = {"calls a second, 1 connection": better("calls", "1"), "32 connections": better("calls", "32"),
               "latency (p50)": slower("latency p50", case), "upload": better("upload"), "download": better("download")}
    lines = []
    for peer in ("rathole", "frp", "chisel", "nfrx"):
        cells = [cell(peer) for cell in columns.values()]
        if any(cells):
            shown = [f"{number(cell.value)}×" if cell else "–" for cell in cells]
            version = next((version for name, version in versions.items() if name.split(" ")[0] == peer), "")
            lines.append(f"| {LABELS[peer].replace(peer, f'{peer} {version}'.strip(), 1)} | {' | '.join(shown)} |")
    if not lines:
        return ""
    return "\n".join([f"| llamapool compared with | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns), *lines])


def where_another_is_better(figures):
    return better(figures, MCP, "Where another is better")


# --- Calls --------------------------------------------------------------------------------------------------------------------


def calls(figures):
    columns = [(connections(case), of(figures, "calls", case)) for case in figures.cases("calls")]
    return table_of("Calls a second", """
        `tools/call` through each path, as fast as it goes, by number of connections. mcp-proxy and fastmcp's proxy are gateways
        that stand next to the provider: one hop less than a tunnel.""", columns)


def ratios(figures):
    others = [path for path in LABELS if path != "llamapool" and path in figures.paths("calls")]
    columns = [(connections(case), lambda path, c=case: figures.ratio("calls", "llamapool", path, c))
               for case in figures.cases("calls")]
    return table_of("Calls a second: llamapool divided by each", "Taken within each round, then the median.", columns, others)


def apart(figures):
    cases = figures.cases("apart")
    columns = [(connections(case), of(figures, "apart", case)) for case in cases]
    columns += [(f"llamapool ÷ it, {case}", lambda path, c=case: figures.ratio("apart", "llamapool", path, c)) for case in cases]
    return table_of("Calls a second, each side on a core of its own", """
        The public side of each path had the first core and the private side the second, as if they were two machines; load
        generator and provider ran wherever there was room.""", columns)


def to_providers(figures):
    parts = []
    for provider, said in PROVIDERS.items():
        for kind, how in (("calls", ""), ("apart", ", each side on a core of its own")):
            measure = f"{kind} to {provider}"
            cases = figures.cases(measure)
            columns = [(connections(case), of(figures, measure, case)) for case in cases]
            columns += [(f"llamapool ÷ it, {case}", lambda path, c=case, m=measure: figures.ratio(m, "llamapool", path, c)) for case in cases]
            parts.append(table_of(f"Calls a second to {said}{how}", "`tools/call` as above, to another provider.", columns))
    return "\n\n".join(filter(None, parts))


def precision(figures):
    """Returns how well each ratio of interest is known, and whether that is well enough."""
    lines = []
    for measure, said in RATIOS.items():
        for path in COMPARED:
            for case in figures.cases(measure):
                ratio = figures.ratio(measure, "llamapool", path, case)
                if ratio:
                    reached = ratio.error is not None and ratio.error <= WITHIN
                    lines.append(f"| {said}, {connections(case)} | {LABELS[path]} | {number(ratio.value)}× | {percent(ratio.error)} | "
                                 f"{percent(ratio.spread)} | {ratio.rounds} | {'yes' if reached else '**no**'} |")
    if not lines:
        return ""
    return "\n".join(["### How well the ratios are known", "", " ".join(f"""
        Calls a second, llamapool divided by each. A ratio is measured in more rounds until its median is known to ±{WITHIN:.0%} (95 %, of
        the quartiles and the number of rounds), or the time for that is over. The spread is half the distance of the quartiles: so much
        do single rounds differ, however many there are.""".split()), "",
                      "| | compared with | ratio | known to | spread | rounds | within |", "|---|---|---:|---:|---:|---:|---|", *lines])


def idle_cores(figures):
    columns = [(f"{said}, {connections('32')}", of(figures, f"{measure} idle", "32")) for measure, said in RATIOS.items()]
    columns = [column for column in columns if any(column[1](path) for path in LABELS)]
    return table_of("Idle cores (%)", """
        The share of all cores that nothing used during the calls above, as the operating system counts it. A path that leaves much of
        the machine idle waits, and would not be faster with less work.""", columns)


def cpu(figures):
    cases = [case for case in ("32", "128") if case in figures.cases("calls")]
    columns = [(f"{side} side, {connections(case)}", of(figures, f"calls cpu {side}", case))
               for case in cases for side in ("public", "private")]
    return table_of("Processor time of one call (µs)", """
        Of all processes of that side, as the operating system counts it, in steps of 10 ms. A gateway has one side.""",
                  columns, [path for path in LABELS if path != "direct"])


def threads(figures):
    cases = figures.cases("threads")
    columns = []
    for case in cases:
        columns += [(f"{connections(case)}, calls a second", of(figures, "threads", case)),
                    (f"server, µs a call, {case}", of(figures, "threads cpu public", case)),
                    (f"÷ one thread, {case}", lambda path, c=case: figures.ratio("threads cpu public", path, ONE_THREAD, c))]
    return table_of("A server with one and with two worker threads", """
        `THREADS`, with everything on the same cores. The ratio is that of the server's processor time of a call.""", columns)


def latency(figures):
    case = only(figures, "latency p50")
    columns = [(name, of(figures, f"latency {name}", case)) for name in ("p50", "p99", "p99.9")]
    columns.append(("added to p50", added(figures, "latency p50", case)))
    return table_of("Latency at a fixed rate (ms)", f"""
        {case} calls a second over 32 connections. A call that starts late counts from when it should have started.""", columns)


# --- Streams and bodies -------------------------------------------------------------------------------------------------------


def events(figures):
    columns = [("first event", of(figures, "first event")), ("first event, added", added(figures, "first event")),
               ("each event", of(figures, "event")), ("each event, added", added(figures, "event"))]
    return table_of("Event streams (ms)", """
        From the request to the first event, on a new connection; from when the provider made an event to when it was read.
        Median within a round.""", columns)


def many_streams(figures):
    case = only(figures, "many streams p50")
    names = {"event p50, ms": "p50", "event p99, ms": "p99", "lost": "lost", "public side, µs an event": "cpu public",
             "private side, µs an event": "cpu private"}
    columns = [(head, of(figures, f"many streams {name}", case)) for head, name in names.items()]
    columns.append(("p99: llamapool ÷ it", lambda path: figures.ratio("many streams p99", "llamapool", path, case)))
    return table_of(f"{case} event streams at once", "Ten events a second in each.", columns)


def bulk(figures):
    columns = [("down, MB/s", of(figures, "download")), ("up, MB/s", of(figures, "upload")),
               ("down ÷ rathole", lambda path: figures.ratio("download", path, "rathole")),
               ("up ÷ rathole", lambda path: figures.ratio("upload", path, "rathole")),
               ("growth of the public side, MB", of(figures, "bulk growth public")),
               ("growth of the private side, MB", of(figures, "bulk growth private"))]
    return table_of("Large bodies", """
        One at a time over one connection. Growth is the peak of resident memory over what it was before.""", columns)


# --- Programs -----------------------------------------------------------------------------------------------------------------


def tls(figures):
    cases = figures.cases("tls calls")
    columns = [(f"{connections(case)}, calls a second", of(figures, "tls calls", case)) for case in cases]
    columns += [(f"llamapool ÷ it, {case}", lambda path, c=case: figures.ratio("tls calls", "llamapool-tls", path, c))
                for case in cases]
    case = only(figures, "tls connections")
    columns += [("a connection for each, calls a second", of(figures, "tls connections", case)),
                ("llamapool ÷ it", lambda path: figures.ratio("tls connections", "llamapool-tls", path, case))]
    return table_of("Calls over TLS", """
        `tools/call` of callers that use https: llamapool with a certificate, and nginx with the same one in front of it, on the
        same cores. The last columns have a new connection, and so a handshake, for each call.""", columns)


def stdio(figures):
    cases = figures.cases("stdio")
    columns = [(f"{connections(case)}, calls a second", of(figures, "stdio", case)) for case in cases]
    columns += [(f"llamapool ÷ it, {case}", lambda path, c=case: figures.ratio("stdio", "llamapool", path, c))
                for case in cases]
    columns += [(f"private side, µs a call, {case}", of(figures, "stdio cpu private", case)) for case in cases]
    return table_of("A provider that is a program", """
        `tools/call` in one session. llamapool's calls go through a server and a tunnel besides; the others stand next to the
        program.""", columns)


def sessions(figures):
    case = only(figures, "session memory")
    columns = [("memory of a session, KB", of(figures, "session memory", case)),
               ("processes of a session", of(figures, "session processes", case))]
    return table_of("An idle session with a program", """
        Proportional memory (PSS) of the whole private side, programs included. Without a process of its own, a session shares
        one program with all others.""", columns)


# --- Relays -------------------------------------------------------------------------------------------------------------------


def idle_relays(figures):
    names = {"idle relay on the server": "memory of the server for each, KB", "server with relays": "the server's memory, MB",
             "idle relay itself": "a relay itself, MB (PSS)", "idle relays cpu": "the server's processor time, ms a second"}
    columns = [(f"{case} relays", lambda name, c=case: figures.get(name, "llamapool", c))
               for case in figures.cases("idle relay on the server")]
    return table_of("Idle relays", "Each a process of its own with a tunnel of its own.", columns, names, names)


def reconnect(figures):
    case = only(figures, "reconnect p50")
    names = {"reconnect p50": "half of them were back, ms", "reconnect p99": "99 in 100, ms", "reconnect last": "the last, ms",
             "reconnect cpu": "the server's processor time for each, µs"}
    columns = [(f"{case} relays", lambda name: figures.get(name, "llamapool", case))]
    return table_of("Back after the server was killed", "From the kill; the server is started again at once.", columns, names,
                  names)


# --- The rest -----------------------------------------------------------------------------------------------------------------


def slow_link(figures):
    case = only(figures, "slow link calls")
    names = {"calls a second": "calls", "p50, ms": "p50", "p99, ms": "p99"}
    columns = [(head, of(figures, f"slow link {name}", case)) for head, name in names.items()]
    return table_of("Over a slow link", f"""
        50 ms for a round trip, one packet in a hundred lost in each direction, {case} connections. Straight to the provider the
        caller is at the far end; else the caller is beside the public end.""", columns)


def cold_start(figures):
    columns = [("provider that speaks HTTP", of(figures, "cold start")),
               ("provider that is a program", of(figures, "cold start stdio"))]
    return table_of("From start to the first answer (ms)", "All processes of the path, started together.", columns)


def sizes(figures):
    columns = [("executable, or both, MB", of(figures, "size", "executable")),
               ("package with what it depends on, MB", of(figures, "size", "folder"))]
    return table_of("Size", "Without what must be there already, such as Node or Python.", columns)


# --- Columns and rows ---------------------------------------------------------------------------------------------------------


def connections(case):
    return "1 connection" if case == "1" else f"{case} connections"


def of(figures, measure, case=""):
    """Returns the column with this figure of each path."""
    return lambda path: figures.get(measure, path, case)


def added(figures, measure, case=""):
    """Returns the column with the difference of each path to the direct path."""
    return lambda path: None if path == "direct" else figures.added(measure, path, case)


def only(figures, measure):
    """Returns the case of a measure that has a single one."""
    return next(iter(figures.cases(measure)), "")


def table_of(title, explained, columns, rows=None, labels=None):
    """Omits rows of dashes, and tables of such rows."""
    lines = []
    for row in rows or LABELS:
        cells = [text(cell(row)) for _, cell in columns]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {(labels or LABELS)[row]} | {' | '.join(cells)} |")
    if not lines:
        return ""
    heads = "".join(f"| {head} " for head, _ in columns)
    rule = "|---|" + "---:|" * len(columns)
    return "\n".join([f"### {title}", "", " ".join(explained.split()), "", f"| {heads}|", rule, *lines])
