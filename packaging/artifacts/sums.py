"""SHA256SUMS of everything that was made, by the names under which it is published."""

import hashlib

NAME = "SHA256SUMS"
# What is in a folder of the output is published elsewhere, or not at all, except these.
FOLDERS = ["npm", "wheel"]


def make(release):
    folders = [release.output, *(release.output / name for name in FOLDERS)]
    paths = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file()]
    paths = sorted((path for path in paths if path.name != NAME), key=lambda path: path.name)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    target = release.output / NAME
    target.write_text("".join(lines), encoding="utf-8")
    yield target
