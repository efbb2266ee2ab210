"""Machine code from the cache, from the first process on."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from morl.learning.backends.numba.cache import compile_in_subprocess

ONE_KERNEL = """
import numpy as np
from morl.learning.backends.numba.cache import compile_in_subprocess
from morl.learning.backends.numba.mlp import squared_norm
ones = np.ones(7, dtype=np.float32)
compile_in_subprocess(squared_norm, ones)
assert squared_norm(ones) == 7.0
print(sum(squared_norm.stats.cache_hits.values()), sum(squared_norm.stats.cache_misses.values()))
"""

UPDATES = """
import hashlib, torch
from morl.learning.backends import make_update
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
settings = TD3Settings(hidden_sizes=(70, 70), discount=0.99, learning_rate=1e-2, layer_norm=True, policy_delay=1)
td3, generator = TD3(9, 3, 2, settings, (3,), torch.device("cpu")), torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(1, *shape, generator=generator)
make_update(td3, "numba")(SampledBatches(
    rows=normal(400, 9 + 3 + 2 + 9 + 1), index=torch.randint(400, (1, 5, 64), generator=generator),
    observation_width=9, action_width=3, condition=normal(5, 64, 0), noise=normal(5, 1, 64, 3),
    scale=torch.ones(1, 2), weight=normal(5, 64, 2).abs()))
print(hashlib.sha256(td3.tensors()["critic"].numpy().tobytes()).hexdigest())
"""


def run(code: str, cache: Path) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_kernel_is_loaded_from_the_cache_also_the_first_time(tmp_path: Path) -> None:
    assert run(ONE_KERNEL, tmp_path).split() == ["1", "0"]
    assert [path.suffix for path in tmp_path.rglob("*.compiled")] == [".compiled"]
    assert run(ONE_KERNEL, tmp_path).split() == ["1", "0"]


@pytest.mark.slow
def test_the_first_process_computes_what_the_second_does(tmp_path: Path) -> None:
    assert run(UPDATES, tmp_path) == run(UPDATES, tmp_path)


def test_files_in_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("random", "pickle", "numba", "numpy", "importlib"):
        (here / f"{name}.py").write_text("open('IMPORTED', 'a').write(__name__); raise SystemExit('mine')\n")
    cleaned = f"import sys; sys.path[:] = [entry for entry in sys.path if entry]\n{ONE_KERNEL}"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    found = subprocess.run(
        [sys.executable, "-P", "-c", cleaned], env=environment, cwd=here, capture_output=True, text=True
    )
    assert found.stdout.split() == ["1", "0"], found.stderr
    assert not (here / "IMPORTED").exists()


def test_a_kernel_that_cannot_be_compiled_beforehand_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Kernel:
        __name__ = "nowhere"
        __module__ = "morl.nowhere"
        py_func = staticmethod(run)
        stats = SimpleNamespace(cache_path=str(tmp_path))

    compile_in_subprocess(Kernel())
    assert "nowhere could not be compiled beforehand (ModuleNotFoundError" in caplog.text
