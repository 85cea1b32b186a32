"""The pictures of a result, and the figures that each shows.

A picture shows one thing, and its second line explains long and short bars.
"""

from paths import LABELS
from report.chart import Bar, chart, simple
from report.numbers import number
from report.tables import RATIOS
from rig.further import COMPARED

# A path of calls to LLMs that takes more than this is in the table alone.
MOST_TIMES_OURS = 10
# The calls whose ratios are drawn, in as few words as a picture has room for.
RATIO_LABELS = {measure: said.replace("calls to ", "").replace("each side on its own core", "own cores") for measure, said in RATIOS.items()}


def all_pictures(figures):
    """Returns name and SVG of each picture for which there are figures."""
    return _drawn({"calls": calls(figures), "latency": latency(figures), "cpu": cpu(figures), "idle": idle(figures), "ratios": ratios(figures), "stdio": stdio(figures)})


def llm_pictures(figures):
    """Returns name and SVG of each picture of calls to LLMs for which there are figures."""
    return _drawn({"llm": llm(figures)})


def _drawn(made):
    return {name: picture for name, picture in made.items() if picture}


def calls(figures):
    bars = _simple(figures, "calls", "32")
    return bars and chart("tools/call a second, 32 connections", "Longer is better. The line is the spread over the rounds.",
                          bars)


def stdio(figures):
    bars = _simple(figures, "stdio", "16")
    return bars and chart("tools/call a second to a program, 16 connections",
                          "Longer is better. llamapool goes through a server and a tunnel besides.", bars)


def latency(figures):
    (case,) = figures.cases("latency p50") or [""]
    bars = []
    for path in LABELS:
        half, most = figures.get("latency p50", path, case), figures.get("latency p99", path, case)
        if half and most:
            pieces = [(0, most.value, True), (0, half.value, False)]
            said = f"{number(half.value)} / {number(most.value)} ms"
            bars.append(Bar(LABELS[path], path == "llamapool", pieces, None, said))
    return bars and chart(f"Latency at {number(float(case))} calls a second",
                          "Shorter is better. Dark: half of all calls (p50); light: 99 in 100 (p99).", bars)


def cpu(figures):
    bars = []
    for path in LABELS:
        public, private = (figures.get(f"calls cpu {side}", path, "32") for side in ("public", "private"))
        # Gateways have one side, and differ so much from the rest that only the table has them.
        if public and private:
            both = public.value + private.value
            said = f"{number(public.value)} + {number(private.value)} µs"
            pieces = [(0, public.value, False), (public.value, both, True)]
            bars.append(Bar(LABELS[path], path == "llamapool", pieces, None, said))
    return bars and chart("Processor time of one call, 32 connections",
                          "Shorter is better. Dark: the public side; light: the private side.", bars)


def idle(figures):
    bars = _simple(figures, "calls idle", "32")
    return bars and chart("Idle cores during the calls, 32 connections, in % of the machine",
                          "Of two paths with as many calls, the one with more idle cores does less for each.", bars)


def ratios(figures):
    """Draws calls a second beside each compared path, to each provider: above 1 llamapool is faster."""
    bars = []
    for measure, said in RATIO_LABELS.items():
        for path in COMPARED:
            ratio = figures.ratio(measure, "llamapool", path, "32")
            if ratio:
                known = ratio.value * (ratio.error or 0)
                spread = ratio.value - known, ratio.value + known
                bars.append(Bar(f"{said}: {LABELS[path]}", False, [(0, ratio.value, False)], spread, f"{number(ratio.value)}×"))
    return bars and chart("Calls a second, llamapool divided by each, 32 connections",
                          "Above 1 llamapool is faster. The line is the interval of the median (95 %).", bars)


def llm(figures):
    ours = figures.both_sides("llm cpu", "llamapool", "16")
    bars = []
    for path in LABELS if ours else ():
        both = figures.both_sides("llm cpu", path, "16")
        public, private = (figures.get(f"llm cpu {side}", path, "16") for side in ("public", "private"))
        # Beside a path that takes so much more, the others would be a line.
        if both and both.value <= MOST_TIMES_OURS * ours.value:
            middle = public.value
            pieces = [(0, middle, False), (middle, middle + private.value, True)] if private else [(0, middle, False)]
            said = f"{number(middle)} + {number(private.value)} µs" if private else f"{number(middle)} µs"
            bars.append(Bar(LABELS[path], path.startswith("llamapool"), pieces, None, said))
    return bars and chart("Processor time of one call to an LLM, 16 connections",
                          "Shorter is better. Dark: the public side, or the only one; light: the private side.", bars)


def _simple(figures, measure, case):
    found = [(path, figures.get(measure, path, case)) for path in LABELS]
    return [simple(LABELS[path], path == "llamapool", figure) for path, figure in found if figure]
