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
import sys
import numpy as np
from morl.pareto import *
from morl.pareto import history
points = np.random.default_rng(0).random((30, 6))
for m in range(2, 7):
    hypervolume(points[:, :m], np.zeros(m))
    hypervolume_contributions(points[:, :m], np.zeros(m))
    non_dominated(points[:, :m]), non_dominated_sort(points[:, :m]), crowding_distance(points[:, :m])
many = np.random.default_rng(0).random((300, 5))
non_dominated(many), non_dominated_sort(many), crowding_distance(many)
history.hypervolume([points], np.zeros(6)), history.expected_utility([points], points), history.sparsity([points])
igd_plus(points, points), epsilon_additive(points, points), ParetoArchive(convex=True).add_all(points)
kernels = {
    f"{name}.{attribute}": value
    for name, module in list(sys.modules.items())
    if name.startswith("morl.pareto.")
    for attribute, value in vars(module).items()
    if hasattr(value, "signatures")
}
assert len(kernels) > 30, len(kernels)
compiled = [name for name, kernel in kernels.items() if kernel.stats.cache_misses]
assert not compiled, compiled
assert sum(len(kernel.stats.cache_hits) for kernel in kernels.values()) > 15
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
