"""A new loss for critics is an edit of one file, as docs/guide/your_agent.md shows it, and trains on eager."""

import re
import sys
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import torch

from morl.learning import td3, values
from morl.learning.backends import choose_backend, make_update
from morl.learning.sampled_batches import SampledBatches

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def edited() -> ModuleType:
    """Return `morl.learning.values` after the edits of the page: every removed line is replaced by the added ones."""
    page = (ROOT / "docs" / "guide" / "your_agent.md").read_text()
    (diff,) = re.findall(r"^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    source = Path(values.__file__).read_text()
    for removed, added in re.findall(r"^-(.*)\n((?:\+.*\n)+)", diff, re.MULTILINE):
        assert source.count(removed + "\n") == 1, removed
        source = source.replace(removed + "\n", "".join(line[1:] + "\n" for line in added.splitlines()))
    specification = spec_from_loader("edited_values", loader=None)
    assert specification is not None
    module = module_from_spec(specification)
    sys.modules["edited_values"] = module
    exec(compile(source, "edited_values.py", "exec"), module.__dict__)
    return module


def batches(algorithm: td3.TD3) -> SampledBatches:
    generator = torch.Generator().manual_seed(1)
    return SampledBatches(
        rows=torch.randn(2, 50, 3 + 2 + 2 + 3 + 1, generator=generator).clamp(max=1.0),
        index=torch.randint(50, (2, 4, 16), generator=generator),
        observation_width=3,
        action_width=2,
        condition=torch.zeros(2, 4, 16, 0),
        noise=algorithm.sample_noise(4, 16, generator),
        scale=torch.ones(2, 2),
        weight=torch.full((2, 4, 16, 2), 0.5),
    )


def test_a_new_loss_trains_on_eager_and_is_refused_by_the_compiled_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    module = edited()
    monkeypatch.setattr(values, "CRITIC_LOSSES", module.CRITIC_LOSSES)  # the file, as edited
    (new,) = set(module.CRITIC_LOSSES) - {"huber", "squared"}
    found = {}
    for loss in ("squared", new):
        settings = td3.TD3Settings(hidden_sizes=(8,), discount=0.9, loss=loss)
        algorithm = td3.TD3(3, 2, 2, settings, [0, 1], CPU)
        make_update(algorithm, "eager")(batches(algorithm))
        found[loss] = algorithm.critics.detach()
    assert found[new].isfinite().all()
    assert not torch.equal(found["squared"], found[new])
    assert choose_backend(algorithm, "auto") == "eager"
    with pytest.raises(ValueError, match=f"loss is '{new}'"):
        make_update(algorithm, "numba")
