"""The artifacts by name, each a function from a release to the files that it made."""

from . import archive, chart, deb, formula, images, npm, sbom, sums, wheel
from .release import DistError, Release

ARTIFACTS = {
    "npm": npm.make,
    "wheel": wheel.make,
    "deb": deb.make,
    "archive": archive.make,
    "sbom": sbom.make,
    "chart": chart.make,
    "formula": formula.make,
    "sums": sums.make,
    "images": images.make,
}

# Without a name, all but what needs a daemon.
BY_DEFAULT = [name for name in ARTIFACTS if name != "images"]

__all__ = ["ARTIFACTS", "BY_DEFAULT", "DistError", "Release"]
