"""Where another is better than llamapool: a list that is made of all figures, so that nothing is left out.

Compared are the medians of ratios that were taken within each round. The path straight to the provider is no alternative.
"""

from dataclasses import dataclass

from paths import LABELS
from report.numbers import number

OURS = "llamapool"
# A factor that is not shown as one.
LEAST = 1.005
# The factor of a path that takes nothing where llamapool takes something.
NOTHING = float("inf")


@dataclass(frozen=True)
class Question:
    """A measure, as readers call it, and what it belongs to. Without cases, those of the result. With `both`, the sum of two sides."""

    measure: str
    group: str
    said: str
    more: bool = False
    both: bool = False
    cases: tuple = ()


def speeds(pairs):
    return [Question(measure, "calls a second", said, more=True) for measure, said in pairs.items()]


MCP = [
    *speeds({"calls": "calls a second", "apart": "calls a second with each side on its own core",
             "calls to nginx": "calls a second to a static nginx",
             "apart to nginx": "calls a second to a static nginx with each side on its own core",
             "calls to fastmcp": "calls a second to a server in Python",
             "apart to fastmcp": "calls a second to a server in Python with each side on its own core"}),
    Question("calls cpu", "processor time", "processor time of a call", both=True, cases=("32", "128")),
    Question("latency p50", "latency", "median latency"),
    Question("latency p99", "latency", "p99 latency"),
    Question("latency p99.9", "latency", "p99.9 latency"),
    Question("first event", "event streams", "the first event of a stream"),
    Question("event", "event streams", "each event of a stream"),
    Question("many streams p50", "event streams", "median delay of events of many streams"),
    Question("many streams p99", "event streams", "p99 delay of events of many streams"),
    Question("many streams cpu", "event streams", "processor time of an event", both=True),
    Question("download", "large bodies", "large bodies down", more=True),
    Question("upload", "large bodies", "large bodies up", more=True),
    Question("stdio", "programs", "calls a second to a program", more=True),
    Question("stdio cpu private", "programs", "processor time of a call to a program"),
    Question("session memory", "programs", "memory of a session with a program"),
    Question("session processes", "programs", "processes of a session with a program"),
    Question("slow link calls", "slow links", "calls a second over a slow link", more=True),
    Question("slow link p50", "slow links", "median latency over a slow link"),
    Question("slow link p99", "slow links", "p99 latency over a slow link"),
    Question("cold start", "starts", "time to the first answer"),
    Question("cold start stdio", "starts", "time to the first answer of a program"),
    Question("size", "size", "size"),
]
LLM = [
    *speeds({"llm": "calls a second", "llm 8 KiB": "calls a second of 8 KiB", "llm 100 KiB": "calls a second of 100 KiB"}),
    Question("llm cpu", "processor time", "processor time of a call", both=True, cases=("16",)),
    Question("llm p50", "latency", "median latency"),
    Question("llm latency p50", "latency", "median latency at a fixed rate"),
    Question("llm latency p99", "latency", "p99 latency at a fixed rate"),
    Question("llm first", "streams", "the first token"),
    Question("llm token", "streams", "each token"),
    Question("llm stream cpu", "streams", "processor time of a token", both=True),
    Question("llm left p50", "callers that leave", "median time until the runtime sees that its caller left"),
    Question("llm left p99", "callers that leave", "p99 time until the runtime sees that its caller left"),
    Question("failover failed", "failover", "calls that failed when one of two ends"),
    Question("llm modest flooded", "fairness", "time of a call beside a flood"),
    Question("llm memory public", "memory", "memory of the public side"),
    Question("llm memory private", "memory", "memory of the private side"),
]


def better(figures, questions, title):
    """Returns a list with one line for each path that is better somewhere. Empty where none is, or nothing was measured."""
    lines = [f"- **{label}**: {'; '.join(text for _, text in found)}" for label, found in found_by_label(figures, questions)]
    explained = "By how much, at the median. In what is not here llamapool is as good or better, or it was not measured."
    return "\n".join([f"### {title}", "", explained, "", *lines]) if lines else ""


def better_line(figures):
    """Returns one sentence for the README. Empty where nothing is better."""
    found = [f"{label}: {', '.join(dict.fromkeys(question.group for question, _ in each))}"
             for label, each in found_by_label(figures, MCP)]
    return f"Where another is better, in any of its measures: {'; '.join(found)}." if found else ""


def found_by_label(figures, questions):
    """Yields the label of each path that is better somewhere, with the questions and how much."""
    for path, label in LABELS.items():
        if path == "direct" or path.startswith(OURS):
            continue
        found = [(question, text) for question in questions if (text := where(figures, question, path))]
        if found:
            yield label, found


def where(figures, question, path):
    """Returns by how much a path is better, with the cases if it is not in all; empty if it is in none."""
    cases = question.cases or figures.cases(question.measure) or ("",)
    factors = {case: factor for case in cases if (factor := advantage(figures, question, path, case)) is not None}
    more = {case: factor for case, factor in factors.items() if factor >= LEAST}
    if not more:
        return ""
    only = f" (in {len(more)} of {len(factors)} cases: {', '.join(more)})" if len(more) < len(factors) else ""
    return f"{question.said} {span([factor for factor in more.values() if factor != NOTHING])}{only}"


def span(factors):
    """Returns the least and the largest of some factors, or `none` for a path that takes nothing."""
    if not factors:
        return "none"
    low, high = number(min(factors)), number(max(factors))
    return f"{low}×" if low == high else f"{low}–{high}×"


def advantage(figures, question, path, case):
    """Returns the factor by which a path is better than llamapool, None where that is unknown."""
    measure = question.measure
    if question.both:
        ratio = figures.both_sides_ratio(measure, OURS, path, case)
    else:
        ratio = figures.ratio(measure, path, OURS, case) if question.more else figures.ratio(measure, OURS, path, case)
    if ratio:
        return ratio.value
    # A ratio to nothing is none.
    ours, theirs = (figures.get(measure, each, case) for each in (OURS, path))
    return NOTHING if ours and theirs and theirs.value == 0 < ours.value and not question.more else None
