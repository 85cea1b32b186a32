"""The wheel of PyPI: the executable as a script, man pages and completions as its data."""

import base64
import hashlib
import time
import zipfile

from .release import REPOSITORY, SHELLS, DistError, check_size

COMPLETIONS = {
    "bash": "share/bash-completion/completions",
    "zsh": "share/zsh/site-functions",
    "fish": "share/fish/vendor_completions.d",
}


def make(release):
    tag = platform_tag(release)
    base = f"llamapool-{release.version}"
    files = contents(release, base, tag)

    folder = release.output / "wheel"
    folder.mkdir(exist_ok=True)
    path = folder / f"{base}-py3-none-{tag}.whl"
    # The records are last, so that a tool finds them at the end.
    record = f"{base}.dist-info/RECORD"
    lines = [f"{name},sha256={digest(content)},{len(content)}" for name, (content, _) in files.items()]
    files[record] = ("\n".join([*lines, f"{record},,", ""]).encode(), 0o644)
    write(path, files, release.time)
    yield check_size(path)


def platform_tag(release):
    """The tag by which an installer knows the systems that the executable runs on (PEP 600)."""
    processor = {"x64": "x86_64", "arm64": "aarch64"}[release.processor]
    if release.linkage.glibc:
        major, minor = release.linkage.glibc
        return f"manylinux_{major}_{minor}_{processor}"
    if release.system == "darwin":
        # The oldest macOS that rustc's executables run on.
        return "macosx_11_0_arm64" if release.processor == "arm64" else "macosx_10_12_x86_64"
    if release.system == "win32" and release.processor == "x64":
        return "win_amd64"
    raise DistError(f"no wheels are made for {release.name}")


def contents(release, base, tag):
    data, info = f"{base}.data", f"{base}.dist-info"
    files = {f"{data}/scripts/{release.executable_name}": (release.program.read_bytes(), 0o755)}
    for name, page in release.man_pages.items():
        files[f"{data}/data/share/man/man1/{name}"] = (page, 0o644)
    for shell, name in SHELLS.items():
        files[f"{data}/data/{COMPLETIONS[shell]}/{name}"] = (release.completions[shell], 0o644)
    files[f"{info}/licenses/LICENSE"] = (release.text("LICENSE").encode(), 0o644)
    files[f"{info}/METADATA"] = (metadata(release).encode(), 0o644)
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: llamapool ./dist\nRoot-Is-Purelib: false\nTag: py3-none-{tag}\n".encode(),
        0o644,
    )
    return files


def metadata(release):
    return f"""\
Metadata-Version: 2.4
Name: llamapool
Version: {release.version}
Summary: Reach private MCP servers and LLM runtimes from anywhere, without opening a port
License-Expression: MIT
License-File: LICENSE
Keywords: mcp,model-context-protocol,tunnel,llm,relay
Classifier: Environment :: Console
Classifier: Programming Language :: Rust
Classifier: Topic :: Internet :: Proxy Servers
Project-URL: Source, https://github.com/{REPOSITORY}
Project-URL: Changelog, https://github.com/{REPOSITORY}/blob/main/CHANGELOG.md
Requires-Python: >=3.8
Description-Content-Type: text/markdown

{release.text("packaging/README.md")}"""


def digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def write(path, files, seconds):
    date = time.gmtime(seconds)[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, (content, mode) in files.items():
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # A regular file with this mode, in the upper half as Unix writes it.
            entry.external_attr = (0o100000 | mode) << 16
            entry.create_system = 3
            wheel.writestr(entry, content)
