"""A study for tests: run folders in the format of real ones, written without training, and their study.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from board_runs import quarter_circle, write_run

from morl.studies.plan import PlannedRun, Study

SYSTEM = {
    "morl": "0.1.0",
    "commit": "abc",
    "python": "3.11",
    "processor": "a processor",
    "cores": 2,
    "packages": {"numpy": "2"},
}


def write_study(root: Path, radii: Mapping[tuple[str, str], list[float]], **given: Any) -> Path:
    """Write a study whose runs find quarter circles, and return its study.json.

    Args:
        root: the study's folder.
        radii: (variant, environment) -> the radius of the front of each seed; the reference point is the origin.
        given: entries of front.json and of `write_run`, for all runs.
    """
    runs = []
    for (variant, env), of_seeds in radii.items():
        for seed, radius in enumerate(of_seeds):
            folder = Path(variant) / env / f"seed-{seed}"
            points = quarter_circle(8, 2, 0, radius)
            entries = {"env": env, "seed": seed, "reference_point": [0.0, 0.0], "points": points} | given
            write_run(root / folder, **entries)
            (root / folder / "system.json").write_text(json.dumps(SYSTEM))
            runs.append(listed(variant, env, seed, folder))
    return write_record(root, runs)


def listed(variant: str, env: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the entry of a run in study.json."""
    entry = {"variant": variant, "env": env, "seed": seed, "folder": folder.as_posix()}
    return entry | {"total_steps": 2_000, "settings_sha256": "0"}


def write_record(root: Path, runs: list[dict[str, Any]]) -> Path:
    """Write study.json and return it."""
    record = {"format": 1, "name": root.name, "file": f"{root.name}.toml", "runs": runs}
    root.mkdir(parents=True, exist_ok=True)
    (root / "study.json").write_text(json.dumps(record))
    return root / "study.json"


def planned_study(root: Path, runs: list[dict[str, Any]]) -> Study:
    """Return the study that asks for some of the runs that `write_study` writes.

    Args:
        root: the study's folder.
        runs: the runs, as `listed` returns them.
    """
    return Study(name=root.name, folder=root, file=None, runs=tuple(_planned(root, entry) for entry in runs))


def _planned(root: Path, entry: Mapping[str, Any]) -> PlannedRun:
    settings = {
        "agent_name": "pd-morl",
        "env": entry["env"],
        "total_steps": entry["total_steps"],
        "seed": entry["seed"],
    }
    return PlannedRun(
        variant=entry["variant"],
        env=entry["env"],
        seed=entry["seed"],
        agent_name="pd-morl",
        env_id=entry["env"],
        total_steps=entry["total_steps"],
        run_dir=root / entry["folder"],
        overrides={},
        config="".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()),
    )


def random_study(root: Path, variants: int = 3, envs: int = 4, seeds: int = 5) -> Path:
    """Write a study in which later variants are better, and return its study.json."""
    random = np.random.default_rng(0)
    radii = {
        (f"variant-{variant}", f"task-{env}-v0"): (8.0 + variant + random.normal(size=seeds)).tolist()
        for env in range(envs)
        for variant in range(variants)
    }
    return write_study(root, radii, steps=[500, 1_000, 1_500, 2_000])
