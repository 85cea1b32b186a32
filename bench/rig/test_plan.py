"""The plan: which measures a run has. Run by `./test`.

No process is started here and nothing is measured.
"""

import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from rig.plan import BY_NAME, COMPLETE, QUICK, TRY, WHOLE

RUN = Path(__file__).resolve().parents[1] / "run"


class Measures(unittest.TestCase):
    def test_every_measure_is_in_the_complete_run_or_run_by_its_name(self):
        loader = SourceFileLoader("bench_run", str(RUN))
        run = module_from_spec(spec_from_loader("bench_run", loader))
        loader.exec_module(run)
        self.assertEqual(set(run.ALL), COMPLETE | BY_NAME)
        self.assertFalse(COMPLETE & BY_NAME)

    def test_calls_have_the_same_connections_where_they_are_compared(self):
        self.assertEqual(WHOLE.connections, (1, 32, 128, 512))
        for plan in (WHOLE, QUICK, TRY):
            self.assertLessEqual(set(plan.gateway_connections), set(plan.connections))


if __name__ == "__main__":
    unittest.main()
