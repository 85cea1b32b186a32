"""Writes a result: beside itself, and into the documents.

In a document only the text between the markers is replaced, and the markers must exist.
"""

import json
from pathlib import Path

from report.figures import Figures, percentile
from report.pictures import all_pictures
from report.tables import all_tables, summary

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def write_all(result):
    """Writes a table and the pictures beside a result."""
    findings = json.loads(result.read_text())
    figures = Figures(findings["samples"])
    result.with_suffix(".md").write_text(f"# Measured {findings['date'][:10]}\n\n{measured(findings)}\n")
    for name, picture in all_pictures(figures).items():
        result.with_name(f"{result.stem}-{name}.svg").write_text(picture)


def publish(result):
    """Writes docs/reference/performance.md, its pictures, and the README."""
    findings = json.loads(result.read_text())
    figures = Figures(findings["samples"])
    pictures = all_pictures(figures)
    for name, picture in pictures.items():
        (DOCS / "reference" / f"performance-{name}.svg").write_text(picture)
    shown = "\n\n".join(f"![{name}](performance-{name}.svg)" for name in pictures)
    between(DOCS / "reference" / "performance.md", "measured", f"{shown}\n\n{measured(findings)}")
    parts = ["![tools/call a second through llamapool and what one would use instead](docs/reference/performance-calls.svg)",
             summary(figures, findings["versions"]),
             f"Below 1× the other is better. {_circumstances(findings)} [All figures](docs/reference/performance.md)."]
    between(ROOT / "README.md", "how-fast", "\n\n".join(part for part in parts if part))


def between(document, marker, text):
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    whole = document.read_text()
    if begin not in whole or end not in whole:
        raise SystemExit(f"{document} has no place for this: {begin} … {end}")
    before, after = whole.split(begin)[0], whole.split(end)[1]
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def measured(findings):
    parts = [_circumstances(findings), all_tables(Figures(findings["samples"]))]
    parts.append(_list("### Not installed", [f"{name}: {why}" for name, why in findings["not_installed"].items()]))
    parts.append(_list("### Notes of the run", findings["notes"]))
    return "\n\n".join(part for part in parts if part)


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
    kind = "A quick run" if findings["quick"] else "A whole run"
    return (f"{kind} of {findings['date'][:10]}, commit {ours['commit']}{changed}, on {machine['cores']} cores "
            f"({machine['processor']}) with everything on the same machine.{shared}")


def _list(title, lines):
    return "\n".join([title, "", *(f"- {line}" for line in lines)]) if lines else ""
