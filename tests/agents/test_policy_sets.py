"""Policy sets as networks of PD-MORL and MORL/D: runs, exact resuming, policies in files, refusals."""

from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
import toys
from graphs import Situation, assert_same_actions, in_torchscript

import morl
from morl.agents.pd_morl.config import ContinuousConfig, DiscreteConfig
from morl.policy_files import PolicySpec

pytestmark = pytest.mark.usefixtures("without_figures")

LEARNERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", "toy-walk-v0", toys.TINY),
    "pd-morl-continuous": ("pd-morl", "toy-continuous-walk-v0", toys.TINY_CONTINUOUS),
    "dqn": ("morl-d", "toy-walk-v0", toys.TINY_MORLD_CONDITIONED | {"exploration_steps": 20}),
    "discrete-sac": ("morl-d", "toy-walk-v0", toys.TINY_MORLD_CONDITIONED | {"solver": "discrete-sac"}),
    "sac": ("morl-d", "toy-continuous-walk-v0", toys.TINY_MORLD_CONDITIONED),
    "td3": ("morl-d", "toy-continuous-walk-v0", toys.TINY_MORLD_CONDITIONED | {"solver": "td3"}),
}
FORMS = ("hyper", "combination")
SCHEDULE = toys.SCHEDULE | {"num_envs": 6, "evaluate_every": 60, "log_every": 30}


def train(learner: str, run_dir: Path, total_steps: int = 96, env: str = "", **config: Any) -> Any:
    agent, usual, settings = LEARNERS[learner]
    config = settings | config
    return morl.train(agent, env or usual, total_steps=total_steps, run_dir=run_dir, config=config, **SCHEDULE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_it_learns_is_saved_and_is_resumed_exactly(learner: str, form: str, tmp_path: Path) -> None:
    run = train(learner, tmp_path / "whole", networks=form)
    train(learner, tmp_path / "parts", 54, networks=form)
    morl.resume(tmp_path / "parts", 96)
    states = [toys.states(tmp_path / name, "agent") for name in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""
    assert '"update_backend": "eager"' in (tmp_path / "whole" / "system.json").read_text()

    policy = run.policy([0.5, 0.5], conditioned=True)
    assert policy.data.spec.policy_set == (form, 2, 16 if form == "hyper" else 0)
    assert form in policy._repr_html_()
    policy.save(tmp_path / "policy.pt")
    seen = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    loaded = morl.load_policy(tmp_path / "policy.pt")
    for preference in ([0.5, 0.5], [1.0, 0.0]):
        expected, _ = policy.conditioned_on(preference).predict(seen)
        np.testing.assert_array_equal(loaded.conditioned_on(preference).predict(seen)[0], expected)


def test_the_rank_of_a_hypernetwork_is_a_setting(tmp_path: Path) -> None:
    sizes = []
    for features in (1, 4):
        run = train("td3", tmp_path / str(features), networks="hyper", hyper_features=features)
        policy = run.policy(row=0)
        assert policy.data.spec.policy_set == ("hyper", 2, features)
        sizes.append(policy.data.parameters.numel())
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("learner", ["pd-morl", "sac"])
def test_images_are_encoded_by_one_encoder(learner: str, tmp_path: Path) -> None:
    env = images.env_id("image-dict", learner == "sac")
    run = train(learner, tmp_path / "run", env=env, networks="hyper")
    policy = run.policy([0.5, 0.5], conditioned=True)
    assert policy.data.spec.policy_set == ("hyper", 2, 16)
    policy.to_torchscript(tmp_path / "policy.torchscript")
    situation = Situation(policy, 9)
    action, *_ = in_torchscript(tmp_path / "policy.torchscript")(situation.inputs())
    assert_same_actions(policy, action, situation.predicted())


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"networks": "pamal"}, "pamal"),
        ({"networks": "hyper", "network": "networks:small"}, "networks is 'hyper', but network is 'networks:small'"),
        ({"networks": "hyper", "hyper_features": 0}, "hyper_features is 0, but must be"),
        ({"networks": "combination", "hyper_features": 8}, r"hyper_features is 8, but .*has no effect: it needs"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    learner: str, config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(learner, tmp_path / "run", **config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("learner", ["pd-morl-continuous", "sac", "td3"])
def test_compiled_updates_and_other_precisions_are_refused(learner: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="backend is 'numba', but networks is 'combination', which only eager"):
        train(learner, tmp_path / "run", networks="combination", backend="numba")
    with pytest.raises(ValueError, match="precision is 'bfloat16', but must be another where networks is 'hyper'"):
        train(learner, tmp_path / "run", networks="hyper", precision="bfloat16", hidden_sizes=(8, 8))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"neighbourhood": "nearest", "transfer": "best"}, "transfer is 'best', but networks is 'hyper': one network"),
        ({"solver": "ppo"}, "networks is 'hyper', but solver 'ppo' has separate networks only"),
        ({"offline_updates": 3}, "offline_updates is 3, but it has no effect: it needs networks 'separate'"),
    ],
)
def test_decomposition_refuses_what_one_network_cannot_do(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = toys.TINY_MORLD | {"networks": "hyper"} | config
    with pytest.raises(ValueError, match=message):
        morl.train("morl-d", "toy-walk-v0", total_steps=60, run_dir=tmp_path / "run", config=settings, **SCHEDULE)


@pytest.mark.parametrize("config_class", [DiscreteConfig, ContinuousConfig])
def test_a_choice_that_does_not_exist_is_refused_in_python_too(config_class: Any) -> None:
    with pytest.raises(ValueError, match="networks is 'pamal', but must be one of conditioned, hyper, combination"):
        config_class(networks="pamal")


@pytest.mark.parametrize(
    "changes",
    [
        {"policy_set": ["pamal", 2, 0]},
        {"policy_set": ["combination", 3, 0]},
        {"policy_set": ["combination", 2, 4]},
        {"policy_set": ["hyper", 2, 0]},
        {"policy_set": ["hyper", 2, -1]},
        {"conditioned": False},
    ],
)
def test_a_damaged_specification_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    spec = train("td3", tmp_path / "run", networks="hyper").policy(row=0).data.spec
    record = spec.record()
    assert PolicySpec.of_record(record) == spec
    with pytest.raises(ValueError, match=r"policy_set is .* which no policy has"):
        PolicySpec.of_record(record | changes)
