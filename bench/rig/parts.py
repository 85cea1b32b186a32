"""The parts of the run and their installation: llamapool and its provider are built, peers installed.

A part that cannot be installed is no failure of the run. It is missing, with a reason, and so are its figures.

Everything is installed into target/bench/, which git ignores, and is found there by the next run. Versions are pinned.
"""

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from rig.peers import add_peers

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "target" / "bench"
LOGS = FOLDER / "log"
# Compiling a large peer on a small machine takes long; one that hangs must not hang the run.
INSTALL_SECONDS = 1800


class NotInstalled(Exception):
    """The reason for a missing part."""


@dataclass
class Parts:
    """The paths of the parts by name, and the reasons for missing ones."""

    programs: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    folders: dict = field(default_factory=dict)
    missing: dict = field(default_factory=dict)

    def has(self, name):
        return name in self.programs

    def add(self, name, version, folder, install):
        """Installs one part. `install` returns the path of its program."""
        print(f"part: {name} {version}", flush=True)
        try:
            self.programs[name] = install()
            self.versions[name], self.folders[name] = version, folder
        except NotInstalled as why:
            print(f"  not installed: {why}", flush=True)
            self.missing[f"{name} {version}".strip()] = str(why)


def install_all(program=None, peers=True):
    """Installs all parts, in the order of their dependencies. Builds no llamapool if one is given, and peers if they are wanted."""
    LOGS.mkdir(parents=True, exist_ok=True)
    parts = Parts()
    for name, package in TOOLS.items():
        parts.add(name, "", None, lambda n=name, p=package: debian(n, p))
    parts.add("llamapool", "", None, lambda: program.resolve() if program else build_published())
    parts.add("http-echo", "", None, lambda: build_provider("http-echo"))
    parts.add("llm-mock", "", None, lambda: build_provider("llm-mock"))
    parts.add("stdio-echo", "", None, lambda: build_provider("stdio-echo"))
    if peers:
        install_peers(parts)
    if lacking := [name for name in NEEDED if not parts.has(name)]:
        raise SystemExit(f"there is no run without {', '.join(lacking)}: {parts.missing}")
    return parts


def install_peers(parts):
    install_rathole(parts)
    cargo(parts, "bore", "0.6.0", ["--locked"], package="bore-cli")
    cargo(parts, "oha", "1.16.0", ["--locked"])
    npm(parts, "supergateway", "4.0.0")
    pip(parts, "mcp-proxy", "0.13.0", "mcp-proxy")
    pip(parts, "fastmcp", "4.2.3", "python")
    cargo(parts, "mcp-proxy", "0.6.0", ["--locked"])
    pip(parts, "vllm-router", "0.1.17", "vllm-router")
    pip(parts, "sglang-router", "0.3.2", "sglang-router")
    pip(parts, "smg", "1.13.0", "smg")
    # A version whose proxy has all its dependencies on PyPI: those of some newer ones are not there.
    pip(parts, "litellm", "1.104.4", "litellm")
    cargo(parts, "ollamaMQ", "0.5.0", ["--locked"])
    add_peers(parts)


def install_rathole(parts):
    # Its own lock file is too old for today's compilers; only its features for plain TCP are needed.
    cargo(parts, "rathole", "0.5.0", ["--no-default-features", "--features", "server,client"])


# Programs of Debian's packages, without which there is no run.
TOOLS = {"cc": "gcc", "setpriv": "util-linux", "wrk": "wrk", "curl": "curl", "ip": "iproute2", "nginx": "nginx-light", "openssl": "openssl"}
NEEDED = ["cc", "setpriv", "wrk", "curl", "llamapool", "http-echo", "llm-mock", "stdio-echo"]


# --- From where ---------------------------------------------------------------------------------------------------------------


def debian(program, package):
    def find():
        return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")

    if not find():
        _apt(package)
    if not find():
        raise NotInstalled(f"{package} has no {program}")
    return find()


def _apt(package):
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise NotInstalled(f"on Debian: sudo apt-get install {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(f"apt-{package}", ["apt-get", "update"], env=environment)
    _run(f"apt-{package}", ["apt-get", "install", "--yes", "--no-install-recommends", package], env=environment)


def build_published():
    """Builds the program as it is published: by a profile of calls."""
    _run("llamapool", [ROOT / "packaging" / "profile-guided"])
    return ROOT / "target" / "profile-guided" / "llamapool"


def build_without_profile():
    """Builds the program with the same settings in a single step."""
    _run("llamapool", ["cargo", "build", "--profile", "dist", "--locked", "-p", "llamapool"])
    return ROOT / "target" / "dist" / "llamapool"


def build_provider(program):
    manifest = ROOT / "bench" / "provider" / "Cargo.toml"
    target = FOLDER / "provider"
    _run("provider", ["cargo", "build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", target])
    return target / "release" / program


def cargo(parts, name, version, options, package=None):
    folder = FOLDER / "parts" / f"{package or name}-{version}"

    def install():
        environment = {**os.environ, "CARGO_TARGET_DIR": str(FOLDER / "build")}
        command = ["cargo", "install", f"{package or name}@{version}", *options, "--root", folder]
        return _once(folder, folder / "bin" / name, lambda: _run(name, command, env=environment))

    parts.add(f"{name} (Rust)" if name == "mcp-proxy" else name, version, folder, install)


def npm(parts, name, version):
    folder = FOLDER / "parts" / f"{name}-{version}"

    def install():
        if not shutil.which("npm"):
            debian("npm", "npm")
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, f"{name}@{version}"]
        return _once(folder, folder / "node_modules" / ".bin" / name, lambda: _run(name, command))

    parts.add(name, version, folder, install)


def pip(parts, name, version, program):
    """Installs a package with what it depends on, in the pinned versions of bench/peers/ where there is such a list."""
    folder = FOLDER / "parts" / f"python-{name}-{version}"
    pinned = ROOT / "bench" / "peers" / f"{name}-{version}.txt"
    wanted = ["--no-deps", "--requirement", pinned] if pinned.exists() else [f"{name}=={version}"]

    def make():
        if subprocess.run(["python3", "-c", "import ensurepip, venv"], capture_output=True).returncode:
            _apt("python3-venv")
        _run(f"python-{name}", ["python3", "-m", "venv", folder])
        _run(f"python-{name}", [folder / "bin" / "python", "-m", "pip", "install", "--no-input",
                                "--disable-pip-version-check", *wanted])

    part = f"{name} (Python)" if name == "mcp-proxy" else name
    parts.add(part, version, folder, lambda: _once(folder, folder / "bin" / program, make))


def _once(folder, program, make):
    """Installs again unless there is a stamp, which is written last. Of two runs in one checkout, the second waits for the first."""
    stamp = folder / "installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make()
            if not program.exists():
                raise NotInstalled(f"its installation brought no {program.name}")
            stamp.touch()
    return program


def _run(name, command, env=None):
    log = LOGS / f"{name}.log"
    with open(log, "ab") as out:
        try:
            done = subprocess.run([str(word) for word in command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=out, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalled(str(error)) from error
    if done.returncode:
        shown = log.relative_to(ROOT)
        raise NotInstalled(f"{Path(command[0]).name} {command[1]} failed with {done.returncode}; see {shown}")
