"""The formula of Homebrew, of the archives that are in the output: a platform without an archive is left out."""

import hashlib

from .release import REPOSITORY, DistError

# Homebrew's words for platforms, by those of the archives.
PLATFORMS = {
    "darwin-arm64": ("on_macos", "on_arm"),
    "darwin-x64": ("on_macos", "on_intel"),
    "linux-arm64": ("on_linux", "on_arm"),
    "linux-x64": ("on_linux", "on_intel"),
}


def make(release):
    blocks = {}
    for name, (system, processor) in PLATFORMS.items():
        archive = release.output / f"llamapool-{release.version}-{name}.tar.gz"
        if archive.exists():
            blocks.setdefault(system, []).append(block(release, archive, processor))
    if not blocks:
        raise DistError("the formula is made of archives, and there is none: ./dist archive formula")

    urls = "\n\n".join(f"  {system} do\n{chr(10).join(inner)}\n  end" for system, inner in blocks.items())
    text = release.text("packaging/homebrew/llamapool.rb")
    text = text.replace("@VERSION@", release.version).replace("@REPOSITORY@", REPOSITORY)
    path = release.output / "llamapool.rb"
    path.write_text(text.replace("  # @ARCHIVES@", urls), encoding="utf-8")
    yield path


def block(release, archive, processor):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    url = f"https://github.com/{REPOSITORY}/releases/download/v{release.version}/{archive.name}"
    return f'    {processor} do\n      url "{url}"\n      sha256 "{digest}"\n    end'
