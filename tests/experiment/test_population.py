"""Several seeds in one process: each run folder is what its seed alone would have made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl
from morl.envs.backends.concat import concat_envs
from morl.experiment.cli import main

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step"),  # a random walk may lose half of its return at any time
]

TINY = {"toy-walk-v0": toys.TINY, "toy-continuous-walk-v0": toys.TINY_CONTINUOUS}


@pytest.mark.parametrize("env", TINY)
def test_seeds_together_are_the_seeds_alone(env: str, tmp_path: Path) -> None:
    runs = morl.train_seeds(
        "pd-morl", env, [4, 9], run_dir=tmp_path, total_steps=200, config=TINY[env], **toys.SCHEDULE
    )
    assert [run.directory for run in runs] == [tmp_path / "seed-4", tmp_path / "seed-9"]
    for run, seed in zip(runs, (4, 9), strict=True):
        alone = morl.train("pd-morl", env, total_steps=200, seed=seed, run_dir=tmp_path / f"alone-{seed}",
                           config=TINY[env], **toys.SCHEDULE)  # fmt: skip
        assert toys.difference(toys.states(run.directory), toys.states(alone.directory)) == ""
        assert toys.front(run.directory) == toys.front(alone.directory)
        for name in ("metrics.jsonl", "fronts.jsonl"):
            assert toys.lines(run.directory / name) == toys.lines(alone.directory / name)
    assert toys.front(runs[0].directory)["points"] != toys.front(runs[1].directory)["points"]


def test_one_of_several_seeds_goes_on_alone(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"config": toys.TINY_CONTINUOUS, **toys.SCHEDULE}
    env = "toy-continuous-walk-v0"
    morl.train_seeds("pd-morl", env, [4, 9], run_dir=tmp_path, total_steps=100, **settings)
    resumed = morl.resume(tmp_path / "seed-9", total_steps=200)
    whole = morl.train("pd-morl", env, total_steps=200, seed=9, run_dir=tmp_path / "whole", **settings)
    assert toys.difference(toys.states(resumed.directory, "agent"), toys.states(whole.directory, "agent")) == ""


def test_an_agent_with_one_learner_trains_seed_after_seed(tmp_path: Path) -> None:
    runs = morl.train_seeds("toys:Coins", "toy-walk-v0", (1, 2), run_dir=tmp_path, total_steps=100, **toys.SCHEDULE)
    assert [run.settings.seed for run in runs] == [1, 2]
    assert all(run.front.points.shape[1] == 2 for run in runs)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_must_differ(seeds: list[int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds is"):
        morl.train_seeds("pd-morl", "toy-walk-v0", seeds, run_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_seeds_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "toys:Coins", "toy-walk-v0", "--total-steps", "50", "--evaluation-episodes", "1"]
    main([*arguments, "--seeds", "2", "--seed", "7", "--run-dir", str(tmp_path / "runs")])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["seed-7", "seed-8"]
    with pytest.raises(SystemExit):
        main([*arguments, "--seeds", "0", "--run-dir", str(tmp_path / "none")])
    assert "seeds is 0" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_nothing_is_left_where_one_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "seed-9").mkdir()
    (tmp_path / "seed-9" / "letter.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        morl.train_seeds("pd-morl", "toy-walk-v0", [4, 9], run_dir=tmp_path, config=toys.TINY, **toys.SCHEDULE)
    assert [path.name for path in tmp_path.iterdir()] == ["seed-9"]


@pytest.mark.parametrize("env", ["toy-walk-v0", "toy-dict-walk-v0", "toy-tuple-walk-v0", "deep-sea-treasure-v0"])
def test_environments_side_by_side_are_each_what_they_are_alone(env: str) -> None:
    parts, alone = [morl.make_vec(env, n) for n in (2, 3)], [morl.make_vec(env, n) for n in (2, 3)]
    together = concat_envs(parts)
    assert together.num_envs == 5
    seen, _ = together.reset(seed=[5, 6, 50, 51, 52])  # type: ignore[arg-type]
    expected = [envs.reset(seed=seed)[0] for envs, seed in zip(alone, (5, 50), strict=True)]
    ends = 0
    for _ in range(40):
        for part, start, stop in ((0, 0, 2), (1, 2, 5)):
            assert toys.difference(_rows(seen, start, stop), _rows(expected[part], 0, stop - start)) == ""
        actions = together.action_space.sample()
        seen, rewards, terminated, truncated, infos = together.step(actions)
        results = [alone[0].step(actions[:2]), alone[1].step(actions[2:])]
        expected = [result[0] for result in results]
        for position, found in ((1, rewards), (2, terminated), (3, truncated)):
            np.testing.assert_array_equal(found, np.concatenate([result[position] for result in results]))
        for index in np.flatnonzero(terminated | truncated):
            ends += 1
            own, row = (results[0], index) if index < 2 else (results[1], index - 2)
            assert infos["_final_obs"][index]
            assert toys.difference(infos["final_obs"][index], own[4]["final_obs"][row]) == ""
    assert ends > 2


def _rows(batch: Any, start: int, stop: int) -> Any:
    if isinstance(batch, dict):
        return {key: _rows(part, start, stop) for key, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_rows(part, start, stop) for part in batch)
    return np.ascontiguousarray(batch[start:stop])
