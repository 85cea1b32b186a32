"""The reader of callgrind's files, with a file as callgrind writes it."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from rig import callgrind
from rig.callgrind import CLEARING, by_crate, crate

FILE = """\
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir

ob=(1) /usr/bin/llamapool
fl=(1) ???
fn=(1) hyper::proto::h1::dispatch::poll
0 100
cfn=(2) llamapool_server::calls::forward
calls=3 0
0 900
0 5

fn=(2)
0 800
ob=(2) /lib/x86_64-linux-gnu/libc.so.6
fn=(3) __memcpy_avx_unaligned_erms
+3 70
fn=(4) __memset_avx2_unaligned_erms
0 8192

totals: 9167
"""


class ByCrate(unittest.TestCase):
    def test_own_costs_are_summed_without_those_of_callees(self):
        self.assertEqual(by_crate(FILE), {"hyper": 105, "llamapool_server": 800, "libc": 70, CLEARING: 8192})

    def test_a_function_belongs_to_the_first_crate_in_its_name(self):
        names = {
            "<http::header::map::HeaderMap<T>>::get": "http",
            "<core::pin::Pin<P> as core::future::future::Future>::poll": "std",
            "core::ptr::drop_in_place<[http::header::name::HeaderName; 9]>": "http",
            "core::ptr::drop_in_place<alloc::string::String>": "std",
            "_mi_page_malloc": "mimalloc",
            "ngx_http_proxy_handler": "ngx_http",
            "ngx_palloc": "ngx",
            "main": "other",
            "0x0000000000001000": "other",
        }
        for name, wanted in names.items():
            self.assertEqual(crate(name, "/usr/bin/llamapool"), wanted, name)

    def test_a_function_of_a_library_belongs_to_it(self):
        libraries = {"libpcre2-8.so.0": "libpcre2", "libc.so.6": "libc", "ld-linux-x86-64.so.2": "ld"}
        for library, wanted in libraries.items():
            self.assertEqual(crate("inflate_fast", f"/lib/x86_64-linux-gnu/{library}"), wanted)


class CountsOfAProcess(unittest.TestCase):
    def test_the_second_count_of_a_process_is_not_the_first(self):
        with tempfile.TemporaryDirectory() as folder:
            dumps = iter([f"first\n{FILE}", f"second\n{FILE}"])

            def dump(_, pid, what):
                if what == "dump":
                    number = len(list(Path(folder).iterdir())) + 1
                    Path(folder, f"llamapool-server.{pid}.callgrind.{number}").write_text(next(dumps))

            with mock.patch.object(callgrind, "_tell", dump):
                texts = []
                for _ in range(2):
                    counts = callgrind.ProcessCounts(folder, 77)
                    counts.begin()
                    texts.append(counts.end())

        self.assertEqual([text.split("\n")[0] for text in texts], ["first", "second"])


if __name__ == "__main__":
    unittest.main()
