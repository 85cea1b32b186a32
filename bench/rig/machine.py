"""The machine and the version of a result.

Every result contains them, as a figure without its machine is meaningless.
"""

import os
import platform
import subprocess
from datetime import datetime, timezone

from rig.parts import ROOT


def about(parts, quick):
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "memory_gib": round(_memory_gib(), 1),
                    "kernel": platform.release(), "load_before": os.getloadavg()[0], "niceness": os.nice(0)},
        # The last commit that changed what is compiled.
        "llamapool": {"commit": _git("log", "-1", "--format=%h", "--", "crates", "Cargo.toml", "Cargo.lock"),
                      "changed": bool(_git("status", "--porcelain", "crates", "Cargo.toml", "Cargo.lock"))},
        "versions": {name: version for name, version in parts.versions.items() if version},
        "not_installed": parts.missing,
    }


def _processor():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()
