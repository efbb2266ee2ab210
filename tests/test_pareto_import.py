"""Importing costs nothing; a second process compiles nothing."""

import subprocess
import sys

import morl.pareto

LOADED = """
import sys
import morl.pareto
assert "numba" not in sys.modules and "numpy" not in sys.modules
"""

CACHED = """
import numpy as np
from morl.pareto import hypervolume, non_dominated
from morl.pareto.hypervolume_wfg import hypervolume_wfg
points = np.random.default_rng(0).random((30, 6))
hypervolume(points, np.zeros(6)), non_dominated(points)
assert not hypervolume_wfg.stats.cache_misses, hypervolume_wfg.stats
assert hypervolume_wfg.stats.cache_hits
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_import_loads_neither_numba_nor_numpy():
    result = run(LOADED)
    assert result.returncode == 0, result.stderr


def test_the_second_process_does_not_compile():
    run(CACHED)  # whoever is first compiles
    result = run(CACHED)
    assert result.returncode == 0, result.stderr


def test_every_public_name_is_there():
    for name in morl.pareto.__all__:
        assert callable(getattr(morl.pareto, name))
        assert name in dir(morl.pareto)
