"""Writes a result: beside itself, and into the documents.

In a document only the text between the markers is replaced, and the markers must exist.
"""

import json
from pathlib import Path

from report.better import better_line
from report.figures import Figures, percentile
from report.llm_tables import line, llm_tables
from report.pictures import all_pictures, llm_pictures
from report.tables import all_tables, summary, tls

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# The beginnings of notes about paths and parts that only calls to LLMs have.
LLM_PEERS = ("vllm-router", "vllm_router", "sglang-router", "sglang_router", "smg", "ollamaMQ", "ollamamq", "litellm")


def write_all(result):
    """Writes a table and the pictures beside a result."""
    findings = json.loads(result.read_text())
    figures = Figures(findings["samples"])
    parts = [f"# Measured {findings['date'][:10]}", *filter(None, (measured(findings), tls_measured(findings), llm_measured(findings)))]
    result.with_suffix(".md").write_text("\n\n".join(parts) + "\n")
    for name, picture in {**all_pictures(figures), **llm_pictures(figures)}.items():
        result.with_name(f"{result.stem}-{name}.svg").write_text(picture)


def publish(result):
    """Writes docs/reference/performance.md, its pictures, and the README.

    A result without calls over TLS, without those to LLMs, or with nothing else, leaves that part of the documents as it is.
    """
    findings = json.loads(result.read_text())
    figures = Figures(findings["samples"])
    page, readme = DOCS / "reference" / "performance.md", ROOT / "README.md"
    if text := measured(findings):
        between(page, "measured", f"{_published(all_pictures(figures))}\n\n{text}")
        parts = ["![tools/call a second through llamapool and what one would use instead](docs/reference/performance-calls.svg)",
                 summary(figures, findings["versions"]),
                 better_line(figures),
                 f"Below 1× the other is better. {_circumstances(findings)} [All figures](docs/reference/performance.md)."]
        between(readme, "how-fast", "\n\n".join(part for part in parts if part))
    if text := tls_measured(findings):
        between(page, "measured-tls", text)
    if text := llm_measured(findings):
        between(page, "measured-llm", f"{_published(llm_pictures(figures))}\n\n{text}".strip())
        if sentence := line(figures):
            within_a_line(readme, "how-fast-llm", f" {sentence}")


def _published(pictures):
    """Writes the pictures, and returns the text that shows them."""
    for name, picture in pictures.items():
        (DOCS / "reference" / f"performance-{name}.svg").write_text(picture)
    return "\n\n".join(f"![{name}](performance-{name}.svg)" for name in pictures)


def between(document, marker, text):
    within_a_line(document, marker, f"\n\n{text}\n\n")


def within_a_line(document, marker, text):
    """Replaces what is between the markers, which may stand in a line with other text."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    whole = document.read_text()
    if begin not in whole or end not in whole:
        raise SystemExit(f"{document} has no place for this: {begin} … {end}")
    before, after = whole.split(begin)[0], whole.split(end)[1]
    document.write_text(f"{before}{begin}{text}{end}{after}")


def measured(findings):
    """Returns everything but the calls over TLS and to LLMs. Empty if nothing else was measured."""
    return _part(findings, all_tables(Figures(findings["samples"])), lambda text: not is_about_llms(text) and not is_about_tls(text))


def tls_measured(findings):
    """Returns the calls over TLS. Empty if none were measured."""
    return _part(findings, tls(Figures(findings["samples"])), is_about_tls)


def llm_measured(findings):
    """Returns the calls to LLMs. Empty if none were measured."""
    return _part(findings, llm_tables(Figures(findings["samples"])), is_about_llms)


def _part(findings, tables, belongs):
    if not tables:
        return ""
    absent = [f"{name}: {why}" for name, why in findings["not_installed"].items()]
    parts = [_circumstances(findings), tables, _list("### Not installed", filter(belongs, absent)),
             _list("### Notes of the run", filter(belongs, findings["notes"]))]
    return "\n\n".join(part for part in parts if part)


def is_about_llms(text):
    """Returns whether a note or a missing part belongs to the calls to LLMs alone."""
    return text.startswith(("llm", "nfrx for LLMs", *LLM_PEERS))


def is_about_tls(text):
    """Returns whether a note belongs to the calls over TLS alone."""
    return text.startswith(("tls", "nginx-tls", "llamapool-tls"))


def _circumstances(findings):
    machine, ours = findings["machine"], findings["llamapool"]
    others = sorted(sample["value"] for sample in findings["samples"] if sample["measure"].endswith(" others"))
    shared = ""
    if others:
        shared = (f" Something outside the run took {percentile(others, 50):.0f} % of the machine meanwhile"
                  f" ({others[0]:.0f}–{others[-1]:.0f} %).")
    if machine["niceness"] > 0:
        shared += f" The run gave way to it (niceness {machine['niceness']})."
    changed = ", with changes" if ours["changed"] else ""
    changed += ", with an executable that the run did not build" if ours.get("given") else ""
    kind = "A quick run" if findings["quick"] else "A whole run"
    return (f"{kind} of {findings['date'][:10]}, commit {ours['commit']}{changed}, on {machine['cores']} cores "
            f"({machine['processor']}) with everything on the same machine.{shared}")


def _list(title, lines):
    lines = list(lines)
    return "\n".join([title, "", *(f"- {line}" for line in lines)]) if lines else ""
