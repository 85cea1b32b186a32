"""The load generators: wrk at full speed, oha at a fixed rate, curl for large bodies.

They are existing tools, as installed; this file only calls them and reads their output.
"""

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "lua"
# The time that a load generator may take in addition to its duration before it is ended.
GRACE_SECONDS = 20


class LoadFailed(Exception):
    """A load generator did not finish."""


@dataclass
class Calls:
    """The result of a load. Times are milliseconds."""

    answered: int
    failed: int
    seconds: float
    p50: float
    p99: float
    p999: float | None
    # The processor time that the load generator itself took.
    cpu_seconds: float


def at_full_speed(route, connections, seconds):
    """Each connection sends the next call when the last one was answered."""
    headers = [f"{name}: {value}" for name, value in route.headers.items()]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", SCRIPTS / route.script, route.url, "--",
               route.tool, *headers]
    out, cpu = _run(command, seconds)
    said = json.loads(out.splitlines()[-1])
    answered = said["requests"] - said["bad_status"]
    return Calls(answered, said["failed"], said["microseconds"] / 1e6, said["p50"] / 1e3, said["p99"] / 1e3, None, cpu)


def at_a_rate(oha, route, load, bodies):
    """`load` is connections, calls a second, seconds. A call that starts late counts from when it should have started."""
    connections, rate, seconds = load
    command = [oha, "--no-tui", "--output-format", "json", "-q", rate, "-c", connections, "-z", f"{seconds}s",
               "-w", "--latency-correction", "-m", "POST", "-Z", bodies, "-T", "application/json",
               "-A", "application/json, text/event-stream"]
    for name, value in route.headers.items():
        command += ["-H", f"{name}: {value}"]
    out, cpu = _run([*command, route.url], seconds)
    said = json.loads(out)
    statuses, errors = said["statusCodeDistribution"], said["errorDistribution"]
    answered = sum(count for status, count in statuses.items() if status.startswith("2"))
    failed = sum(statuses.values()) + sum(errors.values()) - answered
    p50, p99, p999 = (1e3 * (said["latencyPercentiles"][p] or 0) for p in ("p50", "p99", "p99.9"))
    return Calls(answered, failed, said["summary"]["total"], p50, p99, p999, cpu)


def download(url):
    """Fetches a large body once and returns bytes a second."""
    return _curl("%{size_download} %{speed_download}", ["-o", "/dev/null", url])


def upload(url, file):
    """Sends a large body once and returns bytes a second."""
    return _curl("%{size_upload} %{speed_upload}", ["-o", "/dev/null", "-X", "POST", "-H", "Expect:", "-T", str(file), url])


def _curl(wanted, arguments):
    out, _ = _run(["curl", "-sS", "--fail", "--max-time", "60", "-w", wanted, *arguments], 60)
    size, speed = out.split()
    return int(size), float(speed)


def _run(command, seconds):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired as late:
        raise LoadFailed(f"{command[0]} did not end") from late
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise LoadFailed(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
