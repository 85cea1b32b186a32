"""Large bodies in both directions: their speed, and the growth of memory meanwhile.

One body at a time over one connection, so that a path cannot make up for a slow stream with many.

Samples: `download`, `upload` (MB/s), `bulk growth public`, `bulk growth private` (MB: the peak of the resident memory of that
side during both bodies, minus its memory before).
"""

from rig.load import LoadFailed, download, upload
from rig.processes import forget_peak, peak, resident, tree


def run(rig, lineup):
    size = lineup.plan.bulk_bytes
    zeros = rig.folder / "zeros"
    with open(zeros, "wb") as file:
        file.truncate(size)
    for turn, route in lineup.turns("bodies"):
        sides = {role: [pid for main in route.pids(role) for pid, _ in tree(main)] for role in ("public", "private")}
        before = {role: sum(map(resident, pids)) for role, pids in sides.items()}
        for pid in sides["public"] + sides["private"]:
            forget_peak(pid)
        try:
            for name, (got, speed) in (("download", download(f"{route.url}/down/{size}")),
                                       ("upload", upload(f"{route.url}/up", zeros))):
                if got != size:
                    rig.note(f"{name}, {route.name}: {got} of {size} bytes")
                rig.sample(name, route.name, "", turn, (speed / 1e6, "MB/s"))
        except LoadFailed as why:
            rig.note(f"bulk, {route.name}: {why}")
            continue
        for role, pids in sides.items():
            if pids:
                grown = max(0, sum(map(peak, pids)) - before[role])
                rig.sample(f"bulk growth {role}", route.name, "", turn, (grown / 1e6, "MB"))
