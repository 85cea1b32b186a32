"""Peers that the run does not install: programs in the folder that BENCH_PEERS names.

    BENCH_PEERS=~/peers ./bench/run

Those that are there join the run: `nfrx` with `nfrx-mcp` and with `nfrx-llm`, `frps` with `frpc`, `chisel`. Each is a Go program that no package of
Debian, crates.io, npm or PyPI has, and this repository has neither their code nor a way to build it.
"""

import os
import re
import subprocess
from pathlib import Path

# The programs of each peer, all of which it needs.
PEERS = {"nfrx (the original llamapool)": ["nfrx", "nfrx-mcp"], "nfrx for LLMs": ["nfrx", "nfrx-llm"], "frp": ["frps", "frpc"], "chisel": ["chisel"]}
# Peers that cannot run here at all.
NEVER = {"OpenAI tunnel-client": "its public end is OpenAI's own"}


def add_peers(parts):
    """Adds the programs in the folder to the parts of the run, and the reasons for missing ones."""
    parts.missing.update(NEVER)
    folder = os.environ.get("BENCH_PEERS")
    for peer, programs in PEERS.items():
        if not folder:
            parts.missing[peer] = "BENCH_PEERS names no folder with its programs"
            continue
        absent = [name for name in programs if not os.access(Path(folder) / name, os.X_OK)]
        if absent:
            parts.missing[peer] = f"the folder of BENCH_PEERS has no program {' and no '.join(absent)}"
            continue
        print(f"peer: {peer}", flush=True)
        for name in programs:
            parts.programs[name] = Path(folder).resolve() / name
        parts.versions[peer] = version(parts.programs[programs[0]])


def version(program):
    """Returns the number that a program prints as its version, `unknown` for none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"\d+(\.\d+)+\S*", done.stdout + done.stderr)
    return found.group() if found else "unknown"
