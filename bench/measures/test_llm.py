"""The measures of calls to LLMs: calls are counted as documented. Run by `./test`.

No process is started here and nothing is measured.
"""

import unittest
from types import SimpleNamespace

from measures import llm_cancel, llm_failover
from rig.chat_client import events_of, request
from rig.chat_loop import Call


class Rig:
    """Keeps samples and notes."""

    def __init__(self):
        self.figures, self.notes = {}, []

    def sample(self, measure, _path, case, _turn, figure):
        self.figures[measure, case] = figure[0]

    def note(self, text):
        self.notes.append(text)


class Failover(unittest.TestCase):
    def test_a_call_counts_by_the_moment_at_which_something_ended(self):
        rig = Rig()
        calls = [Call(0, 1), Call(1, 3), Call(1.5, 4, "status 502"), Call(2, 2.5), Call(3, 3.1, "refused")]
        llm_failover.sample(rig, (0, "runtime", "smg"), (calls, 2))
        wanted = {"running": 2, "answered": 1, "failed": 1, "slowest": 2000, "later": 2, "later failed": 1, "later slowest": 500}
        self.assertEqual(rig.figures, {(f"failover {name}", "runtime"): value for name, value in wanted.items()})
        self.assertEqual(rig.notes, [])

    def test_a_call_that_failed_before_the_end_is_noted(self):
        rig = Rig()
        llm_failover.sample(rig, (0, "runtime", "smg"), ([Call(0, 1, "status 500")], 2))
        self.assertEqual(rig.notes, ["llm failover, smg: 1 calls failed before anything ended: status 500"])
        self.assertEqual(rig.figures["failover running", "runtime"], 0)
        self.assertNotIn(("failover slowest", "runtime"), rig.figures)


class Cancel(unittest.TestCase):
    def take(self, leave):
        rig = Rig()
        llm_cancel.take(rig, (0, SimpleNamespace(name="smg"), "writing"), 4, leave)
        return rig

    def test_percentiles_are_those_of_the_calls_that_ended(self):
        times = iter([4, None, 1, 3, 2])
        rig = self.take(lambda: next(times))
        wanted = {"p50": 3, "p99": 4, "never": 1}
        self.assertEqual(rig.figures, {(f"llm left {name}", "writing"): value for name, value in wanted.items()})

    def test_a_path_that_never_ends_calls_has_few_tries(self):
        tries = []
        rig = self.take(lambda: tries.append(1))
        self.assertEqual((len(tries), rig.figures), (llm_cancel.ENOUGH_NEVER, {("llm left never", "writing"): 2}))

    def test_a_path_that_refuses_has_a_note_and_no_figure(self):
        def refuse():
            raise ConnectionRefusedError("refused")
        rig = self.take(refuse)
        self.assertEqual((rig.figures, rig.notes), ({}, ["llm cancel, writing, smg: refused"]))


class Client(unittest.TestCase):
    def test_events_are_found_however_a_router_writes_them(self):
        stream = SimpleNamespace(pieces=[(5, b'data: {"delta":{"content":"12"}}\n\nda'),
                                         (7, b'ta: {"delta": {"content": "34"}}\n\n'),
                                         (9, b'data: {"delta":{"content":""}}\n\ndata: [DONE]\n\n')])
        self.assertEqual(events_of(stream), [(5, 12), (7, 34)])

    def test_a_request_has_its_length_and_its_headers(self):
        text = request({"X-User-ID": "one"}, "{}")(SimpleNamespace(path="/v1", netloc="h:1"))
        self.assertTrue(text.startswith("POST /v1 HTTP/1.1\r\nHost: h:1\r\nX-User-ID: one\r\n"))
        self.assertTrue(text.endswith("Content-Length: 2\r\n\r\n{}"))


if __name__ == "__main__":
    unittest.main()
