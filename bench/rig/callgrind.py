"""Counts user-space instructions of running processes with valgrind's callgrind, by crate.

Counting is started and ended from outside, so the start of a process is in no figure. Kernel time is not counted.
"""

import re
import subprocess
import time
from collections import Counter
from pathlib import Path

# How long valgrind may take to answer: it runs some fifty times slower than the processor.
PATIENCE_SECONDS = 60

_POSITION = re.compile(r"^(fn|ob|cfn|cob|fl|fi|fe|cfi|cfl)=\((\d+)\)(?: (.*))?$")
_COST = re.compile(r"^(?:\+|-|\*|0x)?[0-9a-f*]* ?\d+$")
# The first segment of a path in a demangled name.
_CRATE = re.compile(r"(?<![:\w])[A-Za-z_]\w*(?=::)")
_STANDARD = {"core", "alloc", "std"}
# The beginning of a name in C, without its last word: one word or two, which are its module in most programs.
_MODULE = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+(?=_))?(?=_)")
# What clears memory has a place of its own: valgrind counts each byte that `rep stosb` clears as an instruction.
CLEARING = "bytes cleared"


def command(folder, name, program):
    """The program's command line under callgrind."""
    return ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={folder}/{name}.%p.callgrind",
            f"--vgdb-prefix={folder}/vgdb", *program]


class ProcessCounts:
    """The counts of one process."""

    def __init__(self, folder, pid):
        self.folder, self.pid = Path(folder), pid
        self._before = set(self._files())

    def begin(self):
        """Sets all counts to zero."""
        _tell(self.folder, self.pid, "zero")

    def end(self):
        """Returns what callgrind counted since `begin`, as its file."""
        _tell(self.folder, self.pid, "dump")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (text := self._new_text()).endswith("\n") or "\ntotals:" not in text:
            if time.monotonic() > deadline:
                raise TimeoutError(f"valgrind wrote no counts of process {self.pid}")
            time.sleep(0.05)
        return text

    def _new_text(self):
        return "".join(file.read_text() for file in self._files() if file not in self._before)

    def _files(self):
        # Each dump is a file with the next number.
        return self.folder.glob(f"*.{self.pid}.callgrind.*")


def _tell(folder, pid, what):
    subprocess.run(["vgdb", f"--pid={pid}", f"--vgdb-prefix={folder}/vgdb", "--wait=10", what],
                   check=True, capture_output=True, timeout=PATIENCE_SECONDS)


def by_crate(text):
    """Sums the self costs in a callgrind file by the crate of the function."""
    names, crates = {"fn": {}, "ob": {}}, Counter()
    current, skip = {"fn": "", "ob": ""}, False
    for line in text.splitlines():
        if position := _POSITION.match(line):
            kind, number, name = position.groups()
            table = "ob" if kind.endswith("ob") else "fn" if kind.endswith("fn") else None
            if table and name is not None:
                names[table][number] = name
            if kind in current:
                current[kind] = names[kind][number]
        elif line.startswith("calls="):
            # The next line has what the callee took, which is counted there.
            skip = True
        elif _COST.match(line):
            if not skip:
                crates[crate(current["fn"], current["ob"])] += int(line.split()[-1])
            skip = False
    return crates


def crate(function, library):
    """Returns the crate of a function; of one that is not Rust's the library, or in the program itself the beginning of its name."""
    name = Path(library).name
    if function.startswith("__memset"):
        return CLEARING
    if name.startswith("ld-") or ".so" in name:
        return name.split(".")[0].split("-")[0]
    if function.lstrip("_").startswith("mi_"):
        return "mimalloc"
    crates = _CRATE.findall(function)
    if not crates:
        module = _MODULE.match(function)
        return module.group() if module else "other"
    if crates[0] not in _STANDARD:
        return crates[0]
    # Dropping a value is the work of its type's crate.
    others = [found for found in crates if found not in _STANDARD]
    return others[0] if others and "drop_in_place" in function else "std"
