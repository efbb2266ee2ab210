"""Checkpoints: resuming equals never having stopped, bit for bit; what is damaged or foreign is refused in one line."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import kill_at

import morl
from morl.experiment import checkpoint, files
from morl.run_folder import RESUME_NOTE

pytestmark = pytest.mark.usefixtures("without_figures")

# Steps that a stopped run spends on its last evaluation are its own, and counted.
OFF_SCHEDULE = ("evaluation_steps",)

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "kernel": ("deep-sea-treasure-v0", {"seed": 11}),
    "fruit tree of depth 7": ("fruit-tree-v0", {"seed": 3, "env_options": {"depth": 7}, "evaluation_divisions": 2}),
    "synchronous and stochastic": ("toy-walk-v0", {"seed": 5}),
    "resource gathering": ("resource-gathering-v0", {"seed": 23, "evaluation_divisions": 2}),
    "callable": (toys.build_fork, {"seed": 4}),
    "Dict observations": ("toy-dict-walk-v0", {"seed": 6, "discount": 0.9}),
    "population": ("toy-walk-v0", {"agent": "toys:Coins", "seed": 2}),
}


def assert_same_run(one: Path, other: Path, *dropped: str, but_at: int | None = None) -> None:
    """Compare everything that two runs left; `but_at` is the step of an evaluation that only one of them made."""
    for name in ("agent", "environment", "counters"):
        saved, expected = toys.states(one, name), toys.states(other, name)
        for key in dropped if name == "counters" else ():
            del saved[name][key], expected[name][key]
        assert toys.difference(saved, expected) == ""
    assert toys.front(one, *dropped) == toys.front(other, *dropped)
    for file in ("metrics.jsonl", "fronts.jsonl"):
        lines = [toys.lines(run / file, *dropped) for run in (one, other)]
        if but_at is not None:
            lines = [[line for line in part if line["training_steps"] != but_at] for part in lines]
        assert lines[0] == lines[1]
    tags = [toys.scalars(run) for run in (one, other)]
    if dropped:
        tags = [
            {
                tag: [value for value in values if value[0] != but_at]
                for tag, values in found.items()
                if tag not in [f"time/{name}" for name in dropped]
            }
            for found in tags
        ]
    assert toys.difference(*tags) == ""
    assert tags[0]
    policies = [sorted(file.name for file in (run / "policies").iterdir()) for run in (one, other)]
    assert policies[0] == policies[1]
    for name in policies[0]:
        loaded = [checkpoint.load_file(run / "policies" / name) for run in (one, other)]
        assert toys.difference(*loaded) == ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """A run of 400 steps that never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    toys.train(run, "toy-walk-v0", 400)
    return run


@pytest.mark.parametrize("case", CASES)
def test_resuming_on_schedule_equals_never_stopping(case: str, tmp_path: Path) -> None:
    env, changes = CASES[case]
    toys.train(tmp_path / "whole", env, 400, **changes)
    toys.train(tmp_path / "parts", env, 200, **changes)
    again = None if isinstance(env, str) else env
    morl.resume(tmp_path / "parts", 400, env=again)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("case", ["kernel", "synchronous and stochastic", "population"])
def test_resuming_twice_off_schedule_equals_never_stopping(case: str, tmp_path: Path) -> None:
    env, changes = CASES[case]
    toys.train(tmp_path / "whole", env, 330, **changes)
    toys.train(tmp_path / "parts", env, 135, **changes)
    morl.resume(tmp_path / "parts", 265)
    morl.resume(tmp_path / "parts", 330)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run in (whole, parts):  # two evaluations more in the one
        for file in ("metrics.jsonl", "fronts.jsonl"):
            records = [json.loads(line) for line in (run / file).read_text().splitlines()]
            kept = [record for record in records if record["training_steps"] not in (135, 265)]
            (run / file).write_text("".join(json.dumps(record) + "\n" for record in kept))
    for name in ("agent", "environment"):
        assert toys.difference(toys.states(whole, name), toys.states(parts, name)) == ""
    assert toys.front(whole, *OFF_SCHEDULE) == toys.front(parts, *OFF_SCHEDULE)
    for file in ("metrics.jsonl", "fronts.jsonl"):
        assert toys.lines(whole / file, *OFF_SCHEDULE) == toys.lines(parts / file, *OFF_SCHEDULE)


def test_resuming_before_the_first_evaluation_equals_never_stopping(tmp_path: Path) -> None:
    # The environment has no reference point of its own: the evaluation at the stop must not be the one that sets it.
    toys.train(tmp_path / "whole", "toy-walk-v0", 200, seed=9)
    toys.train(tmp_path / "parts", "toy-walk-v0", 60, seed=9)
    morl.resume(tmp_path / "parts", 200)
    assert_same_run(tmp_path / "whole", tmp_path / "parts", *OFF_SCHEDULE, but_at=60)


def test_a_step_count_that_the_environments_do_not_divide(tmp_path: Path) -> None:
    toys.train(tmp_path / "whole", "toy-walk-v0", 303, num_envs=4)
    toys.train(tmp_path / "parts", "toy-walk-v0", 151, num_envs=4)
    morl.resume(tmp_path / "parts", 303)
    agents = [toys.states(tmp_path / run, "agent") for run in ("whole", "parts")]
    assert agents[0]["agent"]["steps"] == 304
    assert toys.difference(*agents) == ""


def test_a_crash_between_checkpoints_is_made_up_for(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.train(tmp_path / "parts", "toy-walk-v0", 100)
    # A run that is killed at 255 has recorded up to there, but its newest checkpoint is that of step 100.
    from morl.experiment.reporting import Reporter

    class Killed(BaseException):
        pass

    logs = []

    def log(self: Reporter) -> None:
        logs.append(self.agent.steps)
        original(self)
        if self.agent.steps >= 250:
            raise Killed

    original = Reporter.log
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "log", log)
        with pytest.raises(Killed):
            morl.resume(tmp_path / "parts", 400)
    assert toys.lines(tmp_path / "parts" / "metrics.jsonl")[-1]["training_steps"] == logs[-1] == 250
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"training_steps": 2')  # half a line
    morl.resume(tmp_path / "parts", 400)
    assert_same_run(whole, tmp_path / "parts")


def test_a_kill_in_the_last_evaluation_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from morl.experiment.reporting import Reporter

    class Killed(BaseException):
        pass

    def evaluate(self: Reporter, scheduled: bool) -> Any:
        if self.agent.steps >= 200:
            raise Killed
        return original(self, scheduled)

    original = Reporter.evaluate
    toys.train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "evaluate", evaluate)
        with pytest.raises(Killed):
            toys.train(tmp_path / "killed")
    morl.resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    with pytest.raises(ValueError, match="already has 200 steps"):
        morl.resume(tmp_path / "killed")


def test_an_environment_that_cannot_be_saved_begins_new_episodes_and_says_so(tmp_path: Path) -> None:
    toys.train(tmp_path / "run", "toy-forgetful-walk-v0", 100)
    assert toys.states(tmp_path / "run", "environment")["environment"] is None
    note = (tmp_path / "run" / "resume-note.txt").read_text()
    assert "counter" in note
    assert "new episodes" in note
    run = morl.resume(tmp_path / "run", 200)
    assert toys.front(run.directory)["training_steps"] == 200


@pytest.mark.parametrize("total_steps", [None, 50])
def test_a_resume_that_is_refused_changes_nothing(total_steps: int | None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    toys.train(run, "toy-walk-v0", 150)  # ends off schedule: front.json is not the checkpoint's best
    before = contents(run)
    with pytest.raises(ValueError, match=r"already has 150 steps.*must be greater"):
        morl.resume(run, total_steps)
    assert contents(run) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


# --- Damaged, foreign, malicious --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    toys.train(run, "toy-fork-v0", 100)
    return run


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def flip_bit(file: Path, position: float = 0.5) -> None:
    content = bytearray(file.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def unreadable(folder: Path) -> None:
    """Replace a state by text, with its right hash."""
    (folder / "agent.pt").write_bytes(b"no state")
    sha256 = hashlib.sha256(b"no state").hexdigest()
    hashes = json.loads((folder / "manifest.json").read_text())["hashes"]
    edit_manifest(folder, hashes=hashes | {"agent.pt": sha256})


DAMAGES = {
    "bit flip in agent": (lambda folder: flip_bit(folder / "agent.pt"), "its agent.pt does not match its hash"),
    "bit flip in environment": (
        lambda folder: flip_bit(folder / "environment.pt", 0.9),
        "its environment.pt does not match its hash",
    ),
    "truncated": (lambda folder: truncate(folder / "counters.pt"), "its counters.pt does not match its hash"),
    "empty": (lambda folder: empty(folder / "agent.pt"), "its agent.pt is empty"),
    "empty counters": (lambda folder: empty(folder / "counters.pt"), "its counters.pt is empty"),
    "missing file": (lambda folder: (folder / "agent.pt").unlink(), "it lacks its agent.pt"),
    "missing counters": (lambda folder: (folder / "counters.pt").unlink(), "it lacks its counters.pt"),
    "missing environment": (lambda folder: (folder / "environment.pt").unlink(), "it lacks its environment.pt"),
    "a folder": (
        lambda folder: ((folder / "agent.pt").unlink(), (folder / "agent.pt").mkdir()),
        "its agent.pt does not match its hash",
    ),
    "a state that is none": (unreadable, "agent.pt is missing or damaged"),
    "missing manifest": (lambda folder: (folder / "manifest.json").unlink(), "it lacks its manifest.json"),
    "half a manifest": (lambda folder: truncate(folder / "manifest.json"), "its manifest.json cannot be read"),
    "manifest of binary": (
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
        "its manifest.json cannot be read",
    ),
    "manifest that is a list": (
        lambda folder: (folder / "manifest.json").write_text("[]"),
        "its manifest.json cannot be read",
    ),
    "manifest without files": (
        lambda folder: edit_manifest(folder, hashes={}),
        "its manifest.json names no counters.pt",
    ),
    "manifest without the agent": (
        lambda folder: edit_manifest(folder, hashes={name: digest(folder / name) for name in ("counters.pt",)}),
        "its manifest.json names no agent.pt, environment.pt",
    ),
    "manifest with a file outside": (
        lambda folder: edit_manifest(
            folder, hashes={"counters.pt": digest(folder / "counters.pt"), "../../front.json": "0"}
        ),
        "its manifest.json names a file outside it, '../../front.json'",
    ),
    "manifest with a list of files": (
        lambda folder: edit_manifest(folder, hashes=["agent.pt"]),
        "its manifest.json cannot be read",
    ),
}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused(damage: str, copy: Path, morl_cli: Any) -> None:
    newest = checkpoint.newest(copy)
    assert newest is not None
    make, fault = DAMAGES[damage]
    make(newest)
    before = contents(copy)
    with pytest.raises(ValueError, match=r"there is no other one: train the run again$"):
        morl.resume(copy, 200)
    code, _, complaint = morl_cli("resume", copy, "--total-steps", 200)
    assert (code, complaint.count("\n")) == (2, 1)
    assert complaint.startswith(f"morl: checkpoint {newest} is damaged: ")
    assert fault in complaint
    assert complaint.endswith("; there is no other one: train the run again\n")
    assert contents(copy) == before


def test_an_older_checkpoint_serves_when_the_damaged_one_is_deleted(whole: Path, tmp_path: Path) -> None:
    toys.train(tmp_path / "parts", "toy-walk-v0", 200)
    morl.resume(tmp_path / "parts", 300)
    newest = checkpoint.newest(tmp_path / "parts")
    assert newest is not None
    (newest / "agent.pt").unlink()
    remedy = r"it lacks its agent\.pt; delete that folder to resume from step-000000000200 beside it$"
    with pytest.raises(ValueError, match=f"^checkpoint {newest} is damaged: {remedy}"):
        morl.resume(tmp_path / "parts", 400)
    shutil.rmtree(newest)
    morl.resume(tmp_path / "parts", 400)
    assert_same_run(whole, tmp_path / "parts")


FOREIGN: dict[str, dict[str, Any]] = {
    "another environment": {"env": "toy-walk-v0"},
    "another agent": {"agent": "toys:Coins", "env": "toy-fork-v0"},
    "another number of environments": {"env": "toy-fork-v0", "num_envs": 4},
    "another network": {"env": "toy-fork-v0", "config": {"hidden_sizes": (8,)}},
    "another replay": {"env": "toy-fork-v0", "config": {"buffer_size": 20}},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_checkpoint_is_refused(what: str, copy: Path, tmp_path: Path, morl_cli: Any) -> None:
    toys.train(tmp_path / "other", total_steps=100, **FOREIGN[what])
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    shutil.copytree(copy / "checkpoints", tmp_path / "other" / "checkpoints")
    before = contents(tmp_path / "other")
    with pytest.raises(ValueError, match=r"foreign.*; there is no other one: train the run again$"):
        morl.resume(tmp_path / "other", 200)
    code, _, complaint = morl_cli("resume", tmp_path / "other", "--total-steps", 200)
    assert (code, complaint.count("\n")) == (2, 1)
    assert contents(tmp_path / "other") == before


@pytest.mark.parametrize(("state", "lacking"), [("agent", "steps"), ("counters", "ideal"), ("counters", "episodes")])
def test_a_checkpoint_of_another_version_is_refused(state: str, lacking: str, copy: Path, morl_cli: Any) -> None:
    newest = checkpoint.newest(copy)
    assert newest is not None
    manifest = json.loads((newest / "manifest.json").read_text())
    states = checkpoint.load(newest, {})
    del states[state][lacking]
    checkpoint.save(newest, {key: manifest[key] for key in manifest if key not in ("format", "hashes")}, states)
    before = contents(copy)
    with pytest.raises(ValueError, match=f"another version of morl wrote it .*it lacks '{lacking}'"):
        morl.resume(copy, 200)
    code, _, complaint = morl_cli("resume", copy, "--total-steps", 200)
    assert (code, complaint.count("\n")) == (2, 1)
    assert contents(copy) == before


def test_another_format_is_refused(copy: Path) -> None:
    newest = checkpoint.newest(copy)
    assert newest is not None
    edit_manifest(newest, format=99)
    with pytest.raises(ValueError, match="format 99"):
        morl.resume(copy, 200)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_code_in_a_file_is_never_run(copy: Path, tmp_path: Path) -> None:
    from hashlib import sha256

    newest = checkpoint.newest(copy)
    assert newest is not None
    target = tmp_path / "exploded"
    for content in (pickle.dumps(Bomb(target)), _torch_archive(Bomb(target), tmp_path)):
        (newest / "agent.pt").write_bytes(content)
        manifest = json.loads((newest / "manifest.json").read_text())
        edit_manifest(newest, hashes=manifest["hashes"] | {"agent.pt": sha256(content).hexdigest()})
        (copy / "policies" / "0.pt").write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            morl.resume(copy, 200)
        with pytest.raises(ValueError, match="damaged"):
            morl.load(copy).policy([0.5, 0.5])
        assert not target.exists()


def _torch_archive(bomb: Bomb, folder: Path) -> bytes:
    torch.save({"parameters": bomb}, folder / "bomb.pt")
    return (folder / "bomb.pt").read_bytes()


@pytest.mark.parametrize("damage", [truncate, empty, Path.unlink])
def test_a_damaged_policy_file_is_refused(damage: Any, copy: Path, morl_cli: Any) -> None:
    damage(copy / "policies" / "0.pt")
    with pytest.raises(ValueError, match=r"damaged|no policies"):
        morl.load(copy).policy([0.5, 0.5])
    code, _, complaint = morl_cli("evaluate", copy)
    assert (code, complaint.count("\n")) == (2, 1)


@pytest.mark.parametrize("damage", [truncate, empty, Path.unlink, lambda file: file.write_text("[]")])
@pytest.mark.parametrize("name", ["front.json", "config.toml"])
def test_a_damaged_run_folder_is_refused(name: str, damage: Any, copy: Path, morl_cli: Any) -> None:
    damage(copy / name)
    with pytest.raises(ValueError):
        morl.load(copy)
    code, _, complaint = morl_cli("front", copy)
    assert (code, complaint.count("\n")) == (2, 1)


# --- A full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["agent.pt", ".partial-manifest.json"])
def test_a_full_disk_leaves_older_checkpoints_intact(name: str, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    toys.train(run, "toy-walk-v0", 100)

    def full(operation: str, path: Path) -> None:
        if operation == "sync" and path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")

    with files.observe(full), pytest.raises(OSError, match="No space left") as caught:
        morl.resume(run, 200)
    assert caught.value.filename.endswith(name)
    assert [folder.name for folder in sorted((run / "checkpoints").iterdir())] == ["step-000000000100"]
    morl.resume(run, 400)
    assert_same_run(whole, run)


def test_a_full_disk_at_the_first_checkpoint_leaves_no_folder(tmp_path: Path) -> None:
    def full(operation: str, path: Path) -> None:
        if operation == "write" and path.suffix == ".pt":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with files.observe(full), pytest.raises(OSError, match="No space left"):
        toys.train(tmp_path / "run", "toy-walk-v0", 100)
    assert not (tmp_path / "run").exists()


def test_a_kill_while_a_checkpoint_is_replaced_leaves_one(tmp_path: Path) -> None:
    """The checkpoint at the end of a run is saved twice, before and after the evaluation: no moment is without one."""
    folder = tmp_path / "run" / "checkpoints" / "step-000000000010"
    checkpoint.save(folder, {"step": 10}, {"agent": {"value": 1}})
    with kill_at(None) as operations:
        checkpoint.save(folder, {"step": 10}, {"agent": {"value": 1}})
    assert len(operations) > 9
    for moment in range(len(operations)):
        with kill_at(moment):
            checkpoint.save(folder, {"step": 10}, {"agent": {"value": 2}})
        newest = checkpoint.newest(tmp_path / "run")
        assert newest is not None
        assert checkpoint.load(newest, {"step": 10})["agent"]["value"] in (1, 2)
        checkpoint.save(folder, {"step": 10}, {"agent": {"value": 1}})
        checkpoint.rotate(tmp_path / "run")  # clears away what the kill left
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert checkpoint.load(folder, {})["agent"]["value"] == 1


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in range(5):
        checkpoint.save(tmp_path / "checkpoints" / f"step-{step:012d}", {}, {"agent": step})
        checkpoint.rotate(tmp_path)
    assert [folder.name[-1] for folder in sorted((tmp_path / "checkpoints").iterdir())] == ["3", "4"]


# --- What can be saved ------------------------------------------------------------------------------------------------

ATOMS = st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats() | st.text(max_size=5)
DTYPES = ["float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64", "bool", ">f8", "complex64"]
ARRAYS = st.builds(
    lambda dtype, shape, seed: np.random.default_rng(seed).integers(0, 2, shape).astype(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 9),
)
STATES = st.recursive(
    ATOMS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(state=STATES)
def test_what_is_saved_is_what_is_loaded(state: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "state.pt"
    checkpoint.save_file(file, state)
    assert toys.difference(_native(state), checkpoint.load_file(file)) == ""


def _native(state: Any) -> Any:
    """Spell big-endian arrays as little-endian ones, which is all that may change."""
    if isinstance(state, np.ndarray):
        return state.astype(state.dtype.newbyteorder("="))
    if isinstance(state, dict):
        return {key: _native(value) for key, value in state.items()}
    if isinstance(state, list | tuple | deque):
        return type(state)(_native(value) for value in state)
    return state


def test_a_read_only_array_and_a_view_can_be_saved(tmp_path: Path) -> None:
    whole = np.arange(1_000_000.0)
    view = whole[::250_000]
    view.flags.writeable = False
    checkpoint.save_file(tmp_path / "a.pt", {"array": np.broadcast_to(view, (2, 4)), "view": torch.zeros(10**6)[:3]})
    assert checkpoint.load_file(tmp_path / "a.pt")["array"].tolist() == [view.tolist()] * 2
    assert (tmp_path / "a.pt").stat().st_size < 10_000


def test_a_file_that_would_expand_without_bounds_is_refused(tmp_path: Path) -> None:
    checkpoint.save_file(tmp_path / "state.pt", {"zeros": np.zeros(10**6)})
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(tmp_path / "state.pt") as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(ValueError, match="would expand to"):
        checkpoint.load_file(bomb)
    with pytest.raises(ValueError, match="would expand to"):
        morl.load_policy(bomb)


class FirstJob:
    left = 3


class SecondJob:
    left = 2


class Workshop(toys.Walk):
    """Holds an object of a class that the next version of its module no longer has."""

    job_class: type = FirstJob

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.job = self.job_class()
        self.job.left -= 1
        return super().reset(seed=seed, options=options)


def test_a_state_that_can_no_longer_be_restored_begins_new_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = toys.train(tmp_path / "run", Workshop, 200).directory
    assert not (run / RESUME_NOTE).exists()
    monkeypatch.setattr(Workshop, "job_class", SecondJob)
    monkeypatch.delattr(f"{__name__}.FirstJob")
    resumed = morl.resume(run, 300, env=Workshop)
    assert resumed.front.points.size
    assert "begin new episodes, because their state cannot be restored" in caplog.text
    assert "begin new episodes" in (run / RESUME_NOTE).read_text()


@pytest.mark.parametrize("name", ["metrics.jsonl", "fronts.jsonl", "tensorboard"])
def test_resuming_a_copy_of_hard_links_changes_no_other_run(name: str, tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 100).directory
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    shutil.copytree(run, tmp_path / "copy")
    for path in [run / name] if (run / name).is_file() else (run / name).iterdir():
        linked = tmp_path / "copy" / path.relative_to(run)
        linked.unlink()
        os.link(path, linked)
    morl.resume(tmp_path / "copy", 200)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["policies", "checkpoints", "tensorboard"])
def test_folders_inside_a_run_that_are_links_are_refused_at_once(name: str, tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 100).directory
    shutil.move(run / name, tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises((OSError, ValueError), match=r"link|no checkpoint"):
        morl.resume(run, 200)
    if name == "policies":
        with pytest.raises(ValueError, match="is a link"):
            morl.load(run).policy([0.5, 0.5])
