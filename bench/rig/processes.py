"""One process of the run: started, observed, ended.

Every process that is started here is ended here, by its id, and dies with the run if the run is killed.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# A process that has not ended this long after a signal is killed.
PATIENCE_SECONDS = 3


class Process:
    """A process with a role: `public` is the side of the callers, `private` the side of the provider, `provider` the provider itself."""

    def __init__(self, role, command, log, env=None):
        self.role = role
        self.log = Path(log)
        with open(self.log, "ab") as out:
            # A session of its own keeps the terminal's Ctrl-C away: the run ends it, in order.
            self.popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=env,
            )
        self.pid = self.popen.pid

    @property
    def name(self):
        """Returns the name of its log without the number in front."""
        return self.log.stem.partition("-")[2]

    def last_line(self):
        """Returns the end of the last line of its log."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip()[-200:] for line in reversed(lines) if line.strip()), "")

    def is_running(self):
        return self.popen.poll() is None

    def end(self, how=signal.SIGTERM):
        """Ends it and all its descendants."""
        family = tree(self.pid)
        if self.is_running():
            self.popen.send_signal(how)
            try:
                self.popen.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pid, born in family:
            if pid != self.pid and (pid, born) == (pid, birth(pid)):
                signal_if_there(pid, signal.SIGKILL)


def end_all(processes):
    """Ends many: all are signalled first, so that they end together."""
    families = [member for process in processes for member in tree(process.pid)]
    for process in processes:
        if process.is_running():
            process.popen.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for process in processes:
        try:
            process.popen.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
    for pid, born in families:
        if birth(pid) == born:
            signal_if_there(pid, signal.SIGKILL)


def signal_if_there(pid, what):
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        pass


def tree(pid):
    """Returns the process and its descendants, each with its start time, which distinguishes it from a later one with the same id."""
    found, born = [], birth(pid)
    if born is None:
        return found
    found.append((pid, born))
    for task in _list(f"/proc/{pid}/task"):
        for child in _text(f"/proc/{pid}/task/{task}/children").split():
            found += tree(int(child))
    return found


def birth(pid):
    fields = _fields(pid)
    # A zombie counts as ended.
    return fields[19] if fields and fields[0] != "Z" else None


def cpu_seconds(pids):
    """Returns the processor time of these processes and their descendants, and of those of their children that have ended."""
    total = 0
    for pid in {member for pid in pids for member, _ in tree(pid)}:
        fields = _fields(pid)
        if fields:
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def memory(pids):
    """Returns the proportional memory (PSS) of these processes and their descendants in bytes: shared pages count once in sum."""
    members = {member for pid in pids for member, _ in tree(pid)}
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in members) * 1024


def resident(pid):
    """Returns the resident memory (RSS) of one process in bytes."""
    return _kib(f"/proc/{pid}/status", "VmRSS:") * 1024


def forget_peak(pid):
    """Resets `peak`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid):
    """Returns the largest resident memory of one process in bytes since the last reset."""
    return _kib(f"/proc/{pid}/status", "VmHWM:") * 1024


def machine_seconds():
    """Returns the processor time of the whole machine since its start, used and idle. Time stolen by a hypervisor is used."""
    user, nice, system, idle, waiting, irq, softirq, steal = map(int, _text("/proc/stat").split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS, (idle + waiting) / TICKS


def _fields(pid):
    """Returns the fields of /proc/<pid>/stat behind the name, which may contain any character."""
    return _text(f"/proc/{pid}/stat").rpartition(") ")[2].split()


def _kib(path, key):
    return sum(int(line.split()[1]) for line in _text(path).splitlines() if line.startswith(key))


def _text(path):
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _list(path):
    try:
        return os.listdir(path)
    except (FileNotFoundError, ProcessLookupError):
        return []
