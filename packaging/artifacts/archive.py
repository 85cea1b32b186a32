"""The archive: the executable with everything that belongs to it, for those who install by hand and for Homebrew."""

from . import tarball
from .release import SHELLS


def make(release):
    files = {
        release.executable_name: (release.program.read_bytes(), 0o755),
        "LICENSE": (release.text("LICENSE").encode(), 0o644),
        "README.md": (release.text("packaging/README.md").encode(), 0o644),
        "CHANGELOG.md": (release.text("CHANGELOG.md").encode(), 0o644),
    }
    for name, page in release.man_pages.items():
        files[f"man/man1/{name}"] = (page, 0o644)
    for shell, name in SHELLS.items():
        files[f"completions/{shell}/{name}"] = (release.completions[shell], 0o644)
    for name, unit in release.units.items():
        files[f"systemd/{name}"] = (unit, 0o644)
    for path in sorted((release.root / "examples").glob("*.toml")):
        files[f"examples/{path.name}"] = (path.read_bytes(), 0o644)

    base = f"llamapool-{release.version}-{release.name}"
    files = {f"{base}/{name}": file for name, file in files.items()}
    yield tarball.write(release.output / f"{base}.tar.gz", files, release.time)
