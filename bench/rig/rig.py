"""The resources of a run: a folder, free ports, the started processes, the samples.

Leaving the rig always ends every process that was started through it.
"""

import itertools
import json
import shutil
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rig.processes import Process, end_all


@dataclass
class Sample:
    """One figure of one round. `case` is the varied parameter, such as the number of connections."""

    measure: str
    path: str
    case: str
    round: int
    value: float
    unit: str


class Rig:
    def __init__(self, parts, quick):
        self.parts = parts
        self.quick = quick
        self.samples = []
        self.notes = []
        self.processes = []
        # The seconds that are left for further rounds.
        self.further_seconds = 0.0
        self.folder = Path(tempfile.mkdtemp(prefix="llamapool-bench-"))
        self._addresses = iter(range(2, 250))
        self._numbers = itertools.count()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        end_all(self.processes)
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"the logs of the run are in {self.folder}")

    # --- Processes ---

    def start(self, role, name, command, env=None):
        log = self.folder / f"{next(self._numbers):05}-{name}.log"
        process = Process(role, command, log, env)
        self.processes.append(process)
        return process

    def end(self, processes):
        end_all(processes)
        for process in processes:
            self.processes.remove(process)

    def port(self):
        """Returns a port that was free a moment ago."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def address(self):
        """Returns a loopback address that is unique in the run, for programs with a fixed port."""
        return f"127.0.0.{next(self._addresses)}"

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    # --- Findings ---

    def sample(self, measure, path, case, turn, figure):
        """`figure` is a value and its unit."""
        value, unit = figure
        self.samples.append(Sample(measure, path, str(case), turn, float(f"{value:.6g}"), unit))

    def note(self, text):
        """Adds a note on the figures, such as an omission or a failure."""
        print(f"  note: {text}", flush=True)
        if text not in self.notes:
            self.notes.append(text)

    def write(self, path, about):
        findings = {**about, "notes": self.notes, "samples": [asdict(sample) for sample in self.samples]}
        path.write_text(_compact(findings))


def _compact(findings):
    """Returns JSON with one line for each sample: a result is read by people and compared by git."""
    samples = findings.pop("samples")
    head = json.dumps(findings, indent=1, ensure_ascii=False)[:-2]
    lines = ",\n".join("  " + json.dumps(sample, ensure_ascii=False) for sample in samples)
    return f'{head},\n "samples": [\n{lines}\n ]\n}}\n'
