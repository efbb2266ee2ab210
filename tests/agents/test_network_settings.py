"""Activation, normalization and the user's own networks, over all agents; code that files name is not imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
import toys

import morl
from morl.agents import check_agent

pytestmark = pytest.mark.usefixtures("without_figures")

LEARNERS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", False, toys.TINY),
    "pd-morl-continuous": ("pd-morl", True, toys.TINY_CONTINUOUS),
    "c-morl": ("c-morl", False, toys.TINY_CMORL),
    "gmorl": ("gmorl", False, toys.TINY_GMORL),
    "dqn": ("morl-d", False, toys.TINY_MORLD_OFF_POLICY),
    "sac": ("morl-d", True, toys.TINY_MORLD_OFF_POLICY),
    "td3": ("morl-d", True, toys.TINY_MORLD_OFF_POLICY | {"solver": "td3"}),
    "ppo": ("morl-d", True, toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
}
SCHEDULE = toys.SCHEDULE | {"num_envs": 6, "evaluate_every": 60, "log_every": 30}


def train(learner: str, run_dir: Path, env: str = "", total_steps: int = 96, **config: Any) -> Any:
    agent, continuous, settings = LEARNERS[learner]
    env = env or f"toy-{'continuous-' if continuous else ''}walk-v0"
    return morl.train(agent, env, total_steps=total_steps, run_dir=run_dir, config=settings | config, **SCHEDULE)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("config", [{"activation": "silu"}, {"normalization": "layer"}])
def test_a_setting_changes_the_policy_and_is_saved_with_it(
    learner: str, config: dict[str, Any], tmp_path: Path
) -> None:
    (name, value), *_ = config.items()
    run = train(learner, tmp_path / "run", **config)
    policy = run.policy(row=0)
    assert getattr(policy.data.spec, name) == value
    policy.save(tmp_path / "policy.pt")
    seen = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    expected, _ = policy.predict(seen)
    np.testing.assert_array_equal(morl.load_policy(tmp_path / "policy.pt").predict(seen)[0], expected)
    assert f'{name} = "{value}"' in (tmp_path / "run" / "config.toml").read_text()
    assert '"update_backend": "eager"' in (tmp_path / "run" / "system.json").read_text()


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_own_network_learns_is_saved_and_is_resumed_exactly(learner: str, tmp_path: Path) -> None:
    env = images.env_id("image-dict", LEARNERS[learner][1])
    run = train(learner, tmp_path / "whole", env, network="networks:convolutional")
    train(learner, tmp_path / "parts", env, 54, network="networks:convolutional")
    morl.resume(tmp_path / "parts", 96)
    states = [toys.states(tmp_path / name, "agent") for name in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""

    policy = run.policy(row=0)
    assert policy.data.spec.network == "networks:convolutional"
    policy.save(tmp_path / "policy.pt")
    envs = morl.make_vec(env, 4)
    batch, _ = envs.reset(seed=3)
    envs.close()
    expected, _ = policy.predict(batch)
    found, _ = morl.load_policy(tmp_path / "policy.pt").predict(batch)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("learner", ["pd-morl", "c-morl", "sac"])
def test_the_contract_holds_for_own_networks(learner: str) -> None:
    agent, continuous, settings = LEARNERS[learner]
    env = images.env_id("image-tuple", continuous)
    check_agent(agent, env, settings | {"network": "networks:small"}, total_steps=120)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"activation": "sine"}, "sine"),
        ({"normalization": "batch"}, "batch"),
        ({"network": "networks:with_batch_norm"}, "network is 'networks:with_batch_norm', but it has BatchNorm1d"),
        ({"network": "networks:failing"}, "network is 'networks:failing', but for NetworkShape"),
        ({"image_size": -1}, "image_size is -1, but must be"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    learner: str, config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(learner, tmp_path / "run", **config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("learner", ["pd-morl-continuous", "c-morl", "sac", "td3", "ppo"])
def test_compiled_updates_refuse_networks_that_they_do_not_have(learner: str, tmp_path: Path) -> None:
    for config in ({"network": "networks:small"}, {"activation": "gelu"}, {"normalization": "layer"}):
        (name, value), *_ = config.items()
        with pytest.raises(ValueError, match=f"backend is 'numba', but {name} is '{value}', which only eager"):
            train(learner, tmp_path / "run", **config, backend="numba")


def test_layers_of_own_networks_cannot_be_shared(tmp_path: Path) -> None:
    config = toys.TINY_MORLD_CONDITIONED | {"networks": "shared-layers", "network": "networks:small"}
    with pytest.raises(ValueError, match="network is 'networks:small', but shared_layers is 1"):
        morl.train("morl-d", "toy-walk-v0", total_steps=60, run_dir=tmp_path / "run", config=config, **SCHEDULE)


def test_an_own_network_is_not_imported_because_a_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(
        "from pathlib import Path\nfrom torch import nn\nPath(__file__).with_name('imported').touch()\n"
        "def make(shape): return nn.Linear(shape.columns, shape.outputs)\n"
    )
    script = (
        "import sys; sys.path.insert(0, {folder!r}); import morl, numpy as np; from pathlib import Path\n"
        "def refused(action):\n"
        "    try: action()\n"
        "    except ValueError as error: assert 'stranger:make' in str(error) and 'trust' in str(error), error\n"
        "    else: raise AssertionError('not refused')\n"
        "    assert not Path({folder!r}, 'imported').exists()\n"
        "run = morl.load({folder!r} + '/run'); print(run); run.metrics()\n"
        "refused(lambda: run.policy(row=0))\n"
        "refused(lambda: morl.load_policy({folder!r} + '/policy.pt'))\n"
        "refused(lambda: morl.resume({folder!r} + '/run', 150))\n"
        "policy = morl.load_policy({folder!r} + '/policy.pt', trust=True)\n"
        "assert Path({folder!r}, 'imported').exists(); print(policy.predict(np.zeros(2, np.float32)))\n"
    )
    training = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import morl\n"
        f"run = morl.train('pd-morl', 'deep-sea-treasure-v0', total_steps=40, run_dir={str(tmp_path / 'run')!r},\n"
        "                 config={'network': 'stranger:make', 'random_exploration_steps': 20}, num_envs=5,\n"
        "                 evaluation_divisions=2)\n"
        f"run.policy(row=0).save({str(tmp_path / 'policy.pt')!r})\n"
    )
    for code in (training, script.format(folder=str(tmp_path))):
        finished = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        (tmp_path / "imported").unlink(missing_ok=True)
