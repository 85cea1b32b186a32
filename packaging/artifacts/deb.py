"""The Debian package: program, units, man pages, completions, settings. Made with dpkg-deb alone."""

import shutil
import tempfile
import textwrap
from email.utils import formatdate
from pathlib import Path

from . import tarball
from .release import REPOSITORY, run

ARCHITECTURES = {"x64": "amd64", "arm64": "arm64"}
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/llamapool",
    "zsh": "usr/share/zsh/vendor-completions/_llamapool",
    "fish": "usr/share/fish/vendor_completions.d/llamapool.fish",
}
# Changed on the machine, and kept when the package is upgraded.
CONFIGURATION = {
    "etc/llamapool/server.toml": "packaging/deb/server.toml",
    "etc/llamapool/worker.toml": "packaging/deb/worker.toml",
}
SCRIPTS = ["postinst", "prerm", "postrm"]
# The revision of the packaging; the version before it is llamapool's.
REVISION = 1
MAINTAINER = "llamapool developers <llamapool@users.noreply.github.com>"

DESCRIPTION = """\
 Gives each private MCP server a public URL, and all LLM runtimes one API, without opening a port. A public server takes
 the calls, and a small relay beside each private service dials out to it over one WebSocket.
 .
 The package has the program with all its roles, and units of systemd for the server, for relays and for a worker. None of
 them is enabled when it is installed.
"""


def make(release):
    if release.system != "linux":
        return
    architecture = ARCHITECTURES[release.processor]
    version = f"{release.version}-{REVISION}"
    path = release.output / f"llamapool_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        for name, (content, mode) in files(release, version).items():
            put(tree / name, content, mode)
        write_control(tree, release, version, architecture)
        for entry in tree.rglob("*"):
            if entry.is_dir():
                entry.chmod(0o755)
        # A folder that root alone reads would hide the settings from the services, which are not root.
        environment = ["env", f"SOURCE_DATE_EPOCH={release.time}"]
        run([*environment, "dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, path])
    yield path


def files(release, version):
    found = {"usr/bin/llamapool": (release.program.read_bytes(), 0o755)}
    for name, page in release.man_pages.items():
        found[f"usr/share/man/man1/{name}.gz"] = (tarball.compress(page), 0o644)
    for shell, name in COMPLETIONS.items():
        found[name] = (release.completions[shell], 0o644)
    for name, unit in release.units.items():
        found[f"usr/lib/systemd/{name}"] = (unit, 0o644)
    for name, source in CONFIGURATION.items():
        found[name] = (release.text(source).encode(), 0o644)
    documents = "usr/share/doc/llamapool"
    for name in ["relay", "relay-several", "worker", "server"]:
        found[f"{documents}/examples/{name}.toml"] = (release.text(f"examples/{name}.toml").encode(), 0o644)
    found[f"{documents}/copyright"] = (copyright_text(release).encode(), 0o644)
    found[f"{documents}/changelog.gz"] = (tarball.compress(release.text("CHANGELOG.md").encode()), 0o644)
    changes = tarball.compress(debian_changelog(release, version).encode())
    found[f"{documents}/changelog.Debian.gz"] = (changes, 0o644)
    overrides = release.text("packaging/deb/lintian-overrides").encode()
    found["usr/share/lintian/overrides/llamapool"] = (overrides, 0o644)
    return found


def put(path, content, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def write_control(tree, release, version, architecture):
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    control = f"""\
Package: llamapool
Version: {version}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {-(-size // 1024)}
Depends: {release.linkage.debian()}
Recommends: ca-certificates
Section: net
Priority: optional
Homepage: https://github.com/{REPOSITORY}
Description: Reach private MCP servers and LLM runtimes from anywhere
{wrapped(DESCRIPTION)}"""
    put(tree / "DEBIAN/control", control.encode(), 0o644)
    conffiles = "".join(f"/{name}\n" for name in sorted(CONFIGURATION))
    put(tree / "DEBIAN/conffiles", conffiles.encode(), 0o644)
    for name in SCRIPTS:
        script = release.text(f"packaging/deb/{name}").encode()
        put(tree / "DEBIAN" / name, script, 0o755)
    if shutil.which("md5sum"):
        names = sorted(str(path.relative_to(tree)) for path in tree.glob("[!D]*/**/*") if path.is_file())
        names = [name for name in names if name not in CONFIGURATION]
        put(tree / "DEBIAN/md5sums", run(["md5sum", *names], cwd=tree).encode(), 0o644)


def wrapped(text):
    """Wraps paragraphs that stand between lines with a dot, each line with the space that Debian asks for."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n .\n")]
    lines = [textwrap.fill(paragraph, 78, initial_indent=" ", subsequent_indent=" ") for paragraph in paragraphs]
    return "\n .\n".join(lines) + "\n"


def debian_changelog(release, version):
    date = formatdate(release.time)
    return f"""\
llamapool ({version}) unstable; urgency=medium

  * Version {release.version}; its changes are in changelog.gz.

 -- {MAINTAINER}  {date}
"""


def copyright_text(release):
    licence = release.text("LICENSE")
    body = licence.split("\n\n", 2)[2]
    body = "\n".join(f" {line}" if line.strip() else " ." for line in body.rstrip().splitlines())
    holder = next(line for line in licence.splitlines() if line.startswith("Copyright"))
    holder = holder.replace("Copyright (c) ", "")
    return f"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: llamapool
Source: https://github.com/{REPOSITORY}
Comment: The libraries that are compiled into the program, with their
 licences, are in the bill of materials that is published with each release.

Files: *
Copyright: {holder}
License: Expat

License: Expat
{body}
"""
