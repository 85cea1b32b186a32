"""What an executable needs of the system that it runs on, read from its own symbols.

A package that names an older system than the executable needs is installed there and does not start; one that names a newer one
is not offered where it would run.
"""

import dataclasses
import os
import re
import subprocess

# What every glibc system has, by the rules for wheels (PEP 600) and by Debian's package of each.
LIBRARIES = {
    "libc.so.6": "libc6",
    "libm.so.6": "libc6",
    "libdl.so.2": "libc6",
    "libpthread.so.0": "libc6",
    "librt.so.1": "libc6",
    "ld-linux-x86-64.so.2": "libc6",
    "ld-linux-aarch64.so.1": "libc6",
    "libgcc_s.so.1": "libgcc-s1",
}
# The newest glibc that a package may need: that of Debian 12, Ubuntu 22.04 and RHEL 9, which are the oldest that still get
# updates everywhere. An executable that was linked on a newer system may need more.
MAX_GLIBC = (2, 36)


class DistError(Exception):
    """Why an artifact cannot be made."""


@dataclasses.dataclass
class Linkage:
    # Such as (2, 34); None for an executable that is not of ELF.
    glibc: tuple | None
    # Names of shared libraries.
    libraries: list

    @classmethod
    def of(cls, program):
        with open(program, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return cls(None, [])
        versions = readelf("--version-info", program)
        dynamic = readelf("--dynamic", program)
        return cls.parse(versions, dynamic)

    @classmethod
    def parse(cls, versions, dynamic):
        libraries = re.findall(r"\(NEEDED\)\s+Shared library: \[(.+?)\]", dynamic)
        unknown = [name for name in libraries if name not in LIBRARIES]
        if unknown:
            raise DistError(f"the executable needs {', '.join(unknown)}, which not every system has")
        found = re.findall(r"Name: GLIBC_([0-9.]+)", versions)
        if not found:
            raise DistError("the executable needs no glibc: packages for musl are not made")
        glibc = max(tuple(int(part) for part in version.split(".")) for version in found)
        if glibc > MAX_GLIBC:
            raise DistError(f"the executable needs glibc {dotted(glibc)}, expected at most {dotted(MAX_GLIBC)}")
        return cls(glibc[:2], libraries)

    def debian(self):
        """The packages that Debian's program depends on."""
        packages = {LIBRARIES[name] for name in self.libraries}
        bounds = {"libc6": f"libc6 (>= {dotted(self.glibc)})", "libgcc-s1": "libgcc-s1 (>= 4.2)"}
        return ", ".join(bounds[package] for package in sorted(packages))


def dotted(version):
    return ".".join(str(part) for part in version)


def readelf(option, program):
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["readelf", "--wide", option, str(program)],
            check=True, capture_output=True, text=True, env=environment,
        )
    except FileNotFoundError as error:
        raise DistError("the command readelf is missing, of the package binutils") from error
    return done.stdout
