"""What is refused before it is published, and what a package says of the system that it needs."""

import os
import pathlib
import sys
import tempfile
import unittest
from types import SimpleNamespace

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from artifacts import DistError, release, wheel  # noqa: E402
from artifacts.linkage import Linkage  # noqa: E402
from artifacts.npm import PLATFORMS  # noqa: E402

VERSIONS = """
  0x00a0:   Name: GLIBC_2.9  Flags: none  Version: 3
  0x00b0:   Name: GLIBC_2.34  Flags: none  Version: 2
  0x00c0:   Name: GLIBC_2.2.5  Flags: none  Version: 1
"""
DYNAMIC = """
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
"""


def platform(system, processor, glibc=None):
    return SimpleNamespace(
        system=system, processor=processor, name=f"{system}-{processor}", linkage=Linkage(glibc, [])
    )


class TestLinkage(unittest.TestCase):
    def test_the_newest_symbol_decides(self):
        linkage = Linkage.parse(VERSIONS, DYNAMIC)

        self.assertEqual(linkage.glibc, (2, 34))
        self.assertEqual(linkage.debian(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2)")

    def test_a_glibc_that_users_do_not_have_is_refused(self):
        with self.assertRaisesRegex(DistError, "needs glibc 2.39, expected at most 2.36"):
            Linkage.parse(VERSIONS + "Name: GLIBC_2.39 ", DYNAMIC)

    def test_a_library_that_not_every_system_has_is_refused(self):
        with self.assertRaisesRegex(DistError, "libssl.so.3"):
            Linkage.parse(VERSIONS, DYNAMIC + "(NEEDED)  Shared library: [libssl.so.3]")

    def test_a_wheel_is_offered_where_its_program_runs(self):
        self.assertEqual(wheel.platform_tag(platform("linux", "x64", (2, 34))), "manylinux_2_34_x86_64")
        self.assertEqual(wheel.platform_tag(platform("linux", "arm64", (2, 31))), "manylinux_2_31_aarch64")
        self.assertEqual(wheel.platform_tag(platform("darwin", "arm64")), "macosx_11_0_arm64")


class TestSize(unittest.TestCase):
    def test_a_package_that_is_too_large_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "llamapool.whl")
            path.touch()
            os.truncate(path, release.MAX_PACKAGE_BYTES)
            self.assertEqual(release.check_size(path), path)

            os.truncate(path, release.MAX_PACKAGE_BYTES + 1)
            with self.assertRaisesRegex(DistError, f"llamapool.whl has {release.MAX_PACKAGE_BYTES + 1:,} bytes"):
                release.check_size(path)


class TestPlatforms(unittest.TestCase):
    def test_the_workflow_builds_every_platform_that_the_launcher_asks_for(self):
        root = pathlib.Path(__file__).parent.parent
        workflow = (root / ".github/workflows/release.yml").read_text(encoding="utf-8")
        built = [line.split()[-1] for line in workflow.splitlines() if line.strip().startswith("- platform:")]

        self.assertEqual(sorted(built), sorted(PLATFORMS))


if __name__ == "__main__":
    unittest.main()
