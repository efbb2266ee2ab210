"""Run folders for the tests of the board: written in the format of real ones, without training."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.board import answers
from morl.board.library import Library
from morl.experiment.front import indicators_of
from morl.experiment.video_files import Gif, Mp4, VideoWriter, png_bytes
from morl.preferences import finest_lattice
from morl.recordings import Recording, VideoIndex

REFERENCE = -1.0


def quarter_circle(count: int, objectives: int = 2, seed: int = 0, radius: float = 10.0) -> NDArray[np.float64]:
    """Return points [count, objective] of which none dominates another, sorted by the first objective."""
    directions = np.abs(np.random.default_rng(seed).normal(size=(count, objectives))) + 1e-3
    points = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return points[np.lexsort(points.T[::-1])]


def write_run(folder: Path, **given: Any) -> Path:
    """Write a run folder and return it.

    Args:
        folder: where it goes.
        given: entries of front.json instead of the usual ones; `steps`: training steps of its evaluations, the last of
            which is published; `config`: settings of config.toml.
    """
    steps = given.pop("steps", [1_000, 2_000])
    config = given.pop("config", {})
    seed = given.get("seed", 0)
    objectives = given.get("objectives", ["speed", "energy"])
    points = np.asarray(given.pop("points", quarter_circle(8, len(objectives), seed)), dtype=np.float64)
    reference = given.get("reference_point", [REFERENCE] * len(objectives))
    folder.mkdir(parents=True)
    record = {
        "agent": "pd-morl",
        "env": "board-test-v0",
        "env_options": {},
        "seed": seed,
        "objectives": objectives,
        "discount": 0.99,
        "reference_point": reference,
        "undiscounted_points": points.tolist(),
        **front_line(steps[-1], points, reference),
        "selected_at_step": steps[-1],
        "pretraining_steps": 10,
        "evaluation_steps": 100,
        "wall_seconds": 12.5,
        **given,
    }
    (folder / "front.json").write_text(json.dumps(record, indent=1))
    settings = {
        "agent_name": record["agent"],
        "env": record["env"],
        "total_steps": steps[-1],
        "seed": seed,
        **config,
    }
    (folder / "config.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    for number, step in enumerate(steps, start=1):
        add_evaluation(folder, step, points * number / len(steps), reference)
    return folder


def write_films(folder: Path, rows: list[int], ending: str = ".gif", **given: Any) -> list[Recording]:
    """Record points of a run that `write_run` wrote: small films in which a bar moves, faster in later rows.

    Args:
        folder: the run folder.
        rows: of front.json.
        ending: ".gif", or ".mp4" where ffmpeg is there.
        given: entries of every recording instead of the usual ones.
    """
    front = json.loads((folder / "front.json").read_text())
    front["policies"] = [{"id": policy_id, "sha256": f"{policy_id:064x}"} for policy_id in front["policy_ids"]]
    (folder / "front.json").write_text(json.dumps(front))
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    recordings = []
    for row in rows:
        stem = f"policy-{front['policy_ids'][row]}-seed-0-{row:08x}"
        pictures = [_bar(30 + (row + 2) * step, row) for step in range(20)]
        writer: VideoWriter = Gif(videos / f"{stem}.gif", 10.0)
        if ending == ".mp4":
            writer = Mp4(videos / f"{stem}.mp4", (160, 120), 10.0)
        for picture in pictures:
            writer.add(picture)
        writer.close()
        (videos / f"{stem}.png").write_bytes(png_bytes(pictures[-1]))
        entries: dict[str, Any] = {
            "file": f"{stem}{ending}",
            "thumbnail": f"{stem}.png",
            "bytes": (videos / f"{stem}{ending}").stat().st_size,
            "policy_id": front["policy_ids"][row],
            "policy_sha256": f"{front['policy_ids'][row]:064x}",
            "row": row,
            "preference": tuple(front["preferences"][row]),
            "conditioning": tuple(front["preferences"][row]),
            "seed": 0,
            "returns": (tuple(front["points"][row]),),
            "undiscounted_returns": (tuple(front["points"][row]),),
            "lengths": (20,),
            "width": 160,
            "height": 120,
            "seconds": 2.0,
        }
        recordings.append(Recording(**entries | given))
    (videos / "sheet-0.png").write_bytes(png_bytes(_bar(10, 0)))
    index = VideoIndex().with_recordings(recordings, "sheet-0.png")
    (videos / "index.json").write_text(index.to_json())
    return recordings


def _bar(place: int, row: int) -> NDArray[np.uint8]:
    picture = np.full((120, 160, 3), 230, dtype=np.uint8)
    picture[20:100, place % 160 : place % 160 + 12] = (40 * row % 256, 90, 160)
    return picture


def front_line(step: int, points: NDArray[np.float64], reference: list[float]) -> dict[str, Any]:
    """Return what a line of fronts.jsonl says."""
    preferences = finest_lattice(points.shape[1], 50)
    return {
        "training_steps": step,
        "points": points.tolist(),
        "preferences": (points / points.sum(axis=1, keepdims=True)).tolist(),
        "policy_ids": list(range(len(points))),
        "indicators": indicators_of(points, tuple(reference), preferences, None),
    }


def add_evaluation(folder: Path, step: int, points: NDArray[np.float64], reference: list[float]) -> None:
    """Append an evaluation to fronts.jsonl and metrics.jsonl."""
    with (folder / "fronts.jsonl").open("a") as file:
        file.write(json.dumps(front_line(step, points, reference)) + "\n")
    metrics = {"training_steps": step, "loss": 0.5}
    evaluated = {
        "training_steps": step,
        "selection/hypervolume": 1.0,
        "wall_seconds": step / 100,
        "pretraining_steps": 10,
    }
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(
            json.dumps(line) + "\n"
            for line in (metrics, {**evaluated, "pretraining_steps": 10, "evaluation_steps": step // 10})
        )


def decoded(array: dict[str, Any]) -> NDArray[Any]:
    """Return an array that travelled as base64."""
    kind = next(name for name in ("float64", "float32", "int32") if name in array)
    content = base64.b64decode(array[kind])
    return np.frombuffer(content, dtype=f"<{np.dtype(kind).str[1:]}").reshape(array["shape"])


def library_of(root: Path) -> Library:
    """Return the runs under a folder, read."""
    library = Library(root)
    library.refresh(least_seconds=0.0)
    return library


def runs_by_name(library: Library) -> dict[str, Any]:
    """Return the entries of the list of runs by name."""
    return {run["name"]: run for run in answers.listing(library)["runs"]}
