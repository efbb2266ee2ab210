"""Importing morl changes nothing for other users of Gymnasium in the same process; morl's own ids are added."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from morl.envs import make, make_vec, specs

SNAPSHOT = """
import os, sys, warnings
import gymnasium, mo_gymnasium

def foreign():
    return {name: repr((spec, spec.vector_entry_point)) for name, spec in gymnasium.registry.items() if name in ids}

ids = set(gymnasium.registry)
before, variables, filters = foreign(), dict(os.environ), repr(warnings.filters)
{use}
assert foreign() == before, "registrations of others changed"
assert dict(os.environ) == variables, set(os.environ.items()) ^ set(variables.items())
assert repr(warnings.filters) == filters
added = set(gymnasium.registry) - ids
ours = ("morl/", "images/", "cmorl-", "pgmorl-", "building-", "mec-", "server-", "recall-", "lab/", "hyper-grid-")
assert all(name.startswith(ours) for name in added), added
try:
    gymnasium.make_vec("mo-hopper-v5", 2, vectorization_mode="vector_entry_point")
except gymnasium.error.Error as error:
    assert "doesn't have a vector entry point" in str(error)
else:
    raise AssertionError("mo-gymnasium has no batch form of its own")
"""
USES = {
    "import": "import morl, morl.envs",
    "single": "import morl.envs; [morl.envs.make(name).close() for name in ('minecart-v0', 'mo-hopper-v5')]",
    "vector": "import morl; [morl.make_vec(name, 2, seed=0).reset() for name in ('mo-hopper-v5', 'four-room-v0')]",
    "table": "import morl.envs.core.table as table; table.markdown()",
    "check": "import morl.envs; morl.envs.check_env('fishwood-v0')",
}


@pytest.mark.parametrize("use", USES)
def test_registrations_and_environment_variables_of_others_stay_as_they_are(use: str) -> None:
    code = SNAPSHOT.replace("{use}", USES[use])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pygame" not in done.stdout


def test_mo_gymnasium_is_imported_only_when_one_of_its_ids_is_needed() -> None:
    code = (
        "import sys, gymnasium, morl.envs; assert 'mo_gymnasium' not in sys.modules;"
        "assert not any(name.startswith('mo-') for name in gymnasium.registry);"
        "morl.envs.make('building-3d-v0'); assert 'mo_gymnasium' not in sys.modules;"
        "print(morl.envs.make_vec('mo-swimmer-v5', 2).metadata['backend'])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("mujoco-batch\n", "")


@pytest.mark.parametrize("env_id", ["morl/deep-sea-treasure-v0", "morl/mo-swimmer-v5", "building-3d-v0"])
def test_gymnasium_finds_the_batch_forms_under_ids_of_our_own(env_id: str) -> None:
    theirs = gymnasium.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point")
    ours = make_vec(env_id.removeprefix("morl/"), 3)
    assert type(theirs.unwrapped) is type(ours)
    np.testing.assert_array_equal(theirs.reset(seed=3)[0], ours.reset(seed=3)[0])
    assert ours.metadata["backend"] == make_vec(env_id, 1).metadata["backend"]
    assert make_vec(env_id, 1).objectives == specs[env_id.removeprefix("morl/")].objectives


@pytest.mark.parametrize(("env_id", "limit"), [("minecart-v0", 1000), ("mo-mountaincar-v0", 200)])
def test_the_own_id_is_the_repaired_environment_with_its_time_limit(env_id: str, limit: int) -> None:
    theirs = gymnasium.make(f"morl/{env_id}")
    ours = make(env_id)
    theirs.reset(seed=0)
    ours.reset(seed=0)
    for step in range(1, limit + 1):
        outcomes = [env.step(0) for env in (theirs, ours)]
        np.testing.assert_array_equal(outcomes[0][1], outcomes[1][1])
        assert outcomes[0][2:4] == outcomes[1][2:4] == (False, step == limit)


def test_step_limits_are_those_of_the_registrations() -> None:
    import mo_gymnasium  # noqa: F401

    for env_id, entry in specs.items():
        assert entry.max_episode_steps == gymnasium.registry[env_id].max_episode_steps, env_id
