"""What all artifacts are made of: the stripped executable, its platform, and what it prints of itself."""

import dataclasses
import json
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

from .linkage import DistError, Linkage

# No package is larger, compressed: it is what somebody waits for who types `npx llamapool` the first time. What there is today and
# a tenth; docs/design/0016-installing.md has what it would take to be smaller.
MAX_PACKAGE_BYTES = 12_000_000

# Where the project is published. A fork sets the variable, as its workflow does.
REPOSITORY = os.environ.get("GITHUB_REPOSITORY") or "llamapool/llamapool"

# Names of operating systems and processors in npm's words, by those of Python.
SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
PROCESSORS = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}

SHELLS = {"bash": "llamapool", "zsh": "_llamapool", "fish": "llamapool.fish"}
UNITS = {
    "system/llamapool-server.service": ["server"],
    "system/llamapool-relay@.service": ["mcp"],
    "system/llamapool-worker.service": ["worker"],
    "user/llamapool-relay@.service": ["mcp", "--user"],
}


@dataclasses.dataclass
class Release:
    root: pathlib.Path
    output: pathlib.Path
    version: str
    # Such as `linux` and `x64`.
    system: str
    processor: str
    # Stripped.
    program: pathlib.Path
    linkage: Linkage
    # Files by name, made by the program itself.
    man_pages: dict
    completions: dict
    units: dict
    # Seconds since 1970; every file in every artifact has this time.
    time: int

    @classmethod
    def prepare(cls, root, output, program):
        version, target = facts(root)
        program = program or build(root, target)
        if not program.is_file():
            raise DistError(f"there is no executable {program}")
        output.mkdir(parents=True, exist_ok=True)
        stripped = strip(program, output)
        linkage = Linkage.of(stripped)

        system = SYSTEMS.get(platform.system())
        processor = PROCESSORS.get(platform.machine())
        if not system or not processor:
            raise DistError(f"no artifacts are made on {platform.system()} {platform.machine()}")
        return cls(
            root=root,
            output=output,
            version=version,
            system=system,
            processor=processor,
            program=stripped,
            linkage=linkage,
            man_pages=man_pages(stripped),
            completions={
                shell: run([stripped, "completions", shell]).encode() for shell in SHELLS
            },
            units=units(stripped) if system == "linux" else {},
            time=commit_time(root),
        )

    @property
    def name(self):
        """Such as `linux-x64`."""
        return f"{self.system}-{self.processor}"

    @property
    def executable_name(self):
        return "llamapool.exe" if self.system == "win32" else "llamapool"

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8")


def facts(root):
    command = ["cargo", "metadata", "--no-deps", "--locked", "--format-version", "1"]
    metadata = json.loads(run(command, cwd=root))
    program = next(it for it in metadata["packages"] if it["name"] == "llamapool")
    return program["version"], pathlib.Path(metadata["target_directory"])


def build(root, target):
    """Builds by a profile of calls where that can be made: bench/, which makes it, starts its processes as Linux does."""
    if platform.system() == "Linux":
        return pathlib.Path(run([root / "packaging/profile-guided"], cwd=root).split("\n")[-2])
    command = ["cargo", "build", "--profile", "dist", "--locked", "-p", "llamapool"]
    if subprocess.run(command, cwd=root, check=False).returncode:
        raise DistError("the program cannot be built")
    name = "llamapool.exe" if platform.system() == "Windows" else "llamapool"
    return target / "dist" / name


def strip(program, output):
    """The profile keeps symbols for the count of instructions; nobody who installs needs them."""
    folder = output / "program"
    folder.mkdir(exist_ok=True)
    stripped = folder / program.name
    shutil.copyfile(program, stripped)
    stripped.chmod(0o755)
    if platform.system() != "Windows":
        run(["strip", stripped])
    return stripped


def man_pages(program):
    with tempfile.TemporaryDirectory() as folder:
        run([program, "man", "--directory", folder])
        pages = sorted(pathlib.Path(folder).iterdir())
        return {page.name: page.read_bytes() for page in pages}


def units(program):
    command = [program, "service", "print", "--program", "/usr/bin/llamapool"]
    return {name: run([*command, *words]).encode() for name, words in UNITS.items()}


def commit_time(root):
    chosen = os.environ.get("SOURCE_DATE_EPOCH")
    # ZIP knows no time before 1980; a checkout without git is of no time.
    return int(chosen or run_or_nothing(["git", "log", "-1", "--format=%ct"], root) or 315532800)


def run(command, **options):
    """Returns what a command prints. The environment of messages is fixed, as some are read."""
    environment = {**os.environ, "LC_ALL": "C", "NO_COLOR": "1"}
    command = [str(word) for word in command]
    try:
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environment, **options
        )
    except FileNotFoundError as error:
        raise DistError(f"the command {command[0]} is missing") from error
    except subprocess.CalledProcessError as error:
        raise DistError(f"this has failed: {' '.join(command)}") from error
    return done.stdout


def run_or_nothing(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def check_size(path):
    size = path.stat().st_size
    if size > MAX_PACKAGE_BYTES:
        raise DistError(f"{path.name} has {size:,} bytes, expected at most {MAX_PACKAGE_BYTES:,}")
    return path
