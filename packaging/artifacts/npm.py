"""The packages of npm: `llamapool` starts the executable, and `@llamapool/<system>-<processor>` has it.

The second is an optional dependency of the first, one for each platform, so npm installs the one that fits, and no script runs
while it is installed.
"""

import json

from . import tarball
from .release import REPOSITORY, check_size

# The platforms for which a package is published: the names that the launcher asks for.
PLATFORMS = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"]

# The oldest Node.js that still gets fixes anywhere we know; the launcher itself uses nothing newer.
NODE = ">=18"


def make(release):
    yield launcher(release)
    yield platform_package(release)


def launcher(release):
    manifest = {
        **common(release),
        "name": "llamapool",
        "description": "Reach private MCP servers and LLM runtimes from anywhere, without opening a port",
        "keywords": ["mcp", "model-context-protocol", "tunnel", "llm", "ollama", "relay"],
        "bin": {"llamapool": "bin/llamapool.js"},
        "man": [f"man/{name}" for name in release.man_pages],
        "engines": {"node": NODE},
        "optionalDependencies": {f"@llamapool/{name}": release.version for name in PLATFORMS},
    }
    files = {
        "bin/llamapool.js": (release.text("packaging/npm/launcher.js").encode(), 0o755),
        "README.md": (release.text("packaging/README.md").encode(), 0o644),
    }
    files |= {f"man/{name}": (page, 0o644) for name, page in release.man_pages.items()}
    return pack(release, f"llamapool-{release.version}.tgz", manifest, files)


def platform_package(release):
    name = f"@llamapool/{release.name}"
    manifest = {
        **common(release),
        "name": name,
        "description": f"The executable of llamapool for {release.name}",
        "os": [release.system],
        "cpu": [release.processor],
        "preferUnplugged": True,
    }
    if release.linkage.glibc:
        manifest["libc"] = ["glibc"]
    readme = f"# {name}\n\nThe executable of [llamapool](https://www.npmjs.com/package/llamapool). Install that.\n"
    files = {
        f"bin/{release.executable_name}": (release.program.read_bytes(), 0o755),
        "README.md": (readme.encode(), 0o644),
    }
    return check_size(pack(release, f"llamapool-{release.name}-{release.version}.tgz", manifest, files))


def common(release):
    return {
        "version": release.version,
        "license": "MIT",
        "homepage": f"https://github.com/{REPOSITORY}",
        "repository": {"type": "git", "url": f"git+https://github.com/{REPOSITORY}.git"},
    }


def pack(release, file, manifest, files):
    folder = release.output / "npm"
    folder.mkdir(exist_ok=True)
    files = {
        **files,
        "package.json": (json.dumps(manifest, indent=2).encode() + b"\n", 0o644),
        "LICENSE": (release.text("LICENSE").encode(), 0o644),
    }
    files = {f"package/{name}": file for name, file in files.items()}
    return tarball.write(folder / file, files, release.time)
