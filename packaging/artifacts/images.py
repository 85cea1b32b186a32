"""The images of the three roles, of the Dockerfile: with the executable of this release in the place of its build stage."""

import platform
import shutil
import subprocess
from pathlib import Path

from .release import DistError, run

# The Dockerfile's targets.
IMAGES = {"server": "llamapool-server", "mcp-worker": "llamapool-mcp-worker", "worker": "llamapool-worker"}
NAMES = ["llamapool-server", "llamapool-mcp", "llamapool-worker"]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def make(release):
    if release.system != "linux":
        raise DistError(f"images are of Linux, and this is {platform.system()}")
    context = stage(release)
    for target, name in IMAGES.items():
        tag = f"{name}:{release.version}"
        path = release.output / f"{name}-{release.version}-{release.name}.oci.tar"
        run([
            "docker", "buildx", "build", "--target", target, "--tag", tag,
            "--build-context", f"build={context}", "--output", f"type=oci,dest={path}", release.root,
        ])
        yield path


def stage(release):
    """Writes what the images copy out of the build stage."""
    context = release.output / "image"
    if context.exists():
        shutil.rmtree(context)
    out = context / "out"
    out.mkdir(parents=True)
    (context / "state").mkdir()
    shutil.copy(release.program, out / "llamapool")
    for name in NAMES:
        (out / name).symlink_to("llamapool")
    if not AUTHORITIES.exists():
        raise DistError(f"the images have the certificate authorities of this machine, and {AUTHORITIES} is missing")
    certificates = context / str(AUTHORITIES.parent).lstrip("/")
    certificates.mkdir(parents=True)
    shutil.copy(AUTHORITIES, certificates)
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        raise DistError("images need a running Docker")
    return context
