"""The Helm chart, with the version of this release, and looked at by Helm where there is one."""

import shutil

from . import tarball
from .release import REPOSITORY, run

SOURCE = "packaging/helm/llamapool"


def make(release):
    folder = release.root / SOURCE
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            text = path.read_text(encoding="utf-8")
            if str(name) in ["Chart.yaml", "values.yaml"]:
                text = text.replace("0.0.0", release.version).replace("@REPOSITORY@", REPOSITORY.lower())
            files[f"llamapool/{name}"] = (text.encode(), 0o644)

    path = release.output / f"llamapool-chart-{release.version}.tgz"
    tarball.write(path, files, release.time)
    if shutil.which("helm"):
        run(["helm", "lint", "--strict", path])
    else:
        print("chart    not looked at: there is no helm")
    yield path
