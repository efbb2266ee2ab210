"""The combiner of gradients as a setting of C-MORL and MORL/D: runs, exact resuming, backends, refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toys

import morl
from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.config import Config
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config as DecompositionConfig
from morl.envs.core.registry import problem

pytestmark = pytest.mark.usefixtures("without_figures")

CPU = torch.device("cpu")
LEARNERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "c-morl": ("c-morl", "toy-walk-v0", toys.TINY_CMORL),
    "c-morl-lagrangian": ("c-morl", "toy-walk-v0", toys.TINY_CMORL | {"solver": "lagrangian"}),
    "ppo": ("morl-d", "toy-continuous-walk-v0", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
    "td3": ("morl-d", "toy-continuous-walk-v0", toys.TINY_MORLD_OFF_POLICY | {"solver": "td3"}),
    "sac": ("morl-d", "toy-continuous-walk-v0", toys.TINY_MORLD_OFF_POLICY | {"solver": "sac"}),
    "discrete-sac": ("morl-d", "toy-walk-v0", toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac"}),
}
SCHEDULE = toys.SCHEDULE | {"num_envs": 6, "evaluate_every": 60, "log_every": 30}


def train(learner: str, run_dir: Path, total_steps: int, **config: Any) -> Any:
    agent, env, settings = LEARNERS[learner]
    return morl.train(agent, env, total_steps=total_steps, run_dir=run_dir, config=settings | config, **SCHEDULE)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_combined_run_falls_back_to_eager_and_is_resumed_exactly(learner: str, tmp_path: Path) -> None:
    train(learner, tmp_path / "whole", 96, combiner="upgrad")
    train(learner, tmp_path / "parts", 54, combiner="upgrad")
    morl.resume(tmp_path / "parts", 96)
    states = [toys.states(tmp_path / name, "agent") for name in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""
    assert '"update_backend": "eager"' in (tmp_path / "whole" / "system.json").read_text()
    train(learner, tmp_path / "plain", 96, backend="eager")
    assert toys.difference(states[0], toys.states(tmp_path / "plain", "agent")) != ""


def c_morl(**changes: Any) -> CMORL:
    return CMORL(problem("toy-walk-v0"), Config(**toys.TINY_CMORL | changes), 3, 4, CPU)


def morl_d(env: str, **changes: Any) -> MORLD:
    return MORLD(problem(env), DecompositionConfig(**changes), 3, 6, CPU)


def test_compiled_updates_and_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="backend is 'numba', but combiner is 'mgda', which only eager updates"):
        c_morl(combiner="mgda", backend="numba")
    with pytest.raises(ValueError, match="combiner is 'sum', but must be one of weighted-sum, upgrad"):
        c_morl(combiner="sum")
    with pytest.raises(ValueError, match="combiner is 'sum', but must be one of weighted-sum, upgrad"):
        morl_d("toy-walk-v0", combiner="sum")


def test_solvers_that_have_no_gradient_for_each_objective_refuse() -> None:
    with pytest.raises(ValueError, match="combiner is 'mgda', but solver 'dqn' does not read it"):
        morl_d("toy-walk-v0", combiner="mgda")
    with pytest.raises(ValueError, match="combiner is 'mgda', but solver 'eupg' does not read it"):
        morl_d("toy-walk-v0", **DecompositionConfig.PRESETS["eupg"] | {"combiner": "mgda"})
    with pytest.raises(ValueError, match="combiner is 'mgda', but solver 'sac' combines gradients under linear"):
        morl_d("toy-continuous-walk-v0", combiner="mgda", utility="pbi")
    assert morl_d("toy-continuous-walk-v0", combiner="mgda", utility="pbi", solver="ppo").backend == "eager"
