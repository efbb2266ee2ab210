"""Recording: what is recorded is what is evaluated, files appear whole, bad input gets one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from drawn import DrawnWalk
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image

import morl
from morl.envs.mujoco import offscreen
from morl.evaluation import NO_INPUTS
from morl.experiment import files, video_files, videos
from morl.experiment.ownership import FolderInUse, locked
from morl.experiment.rendering import EpisodePlayer, Moment, captioned
from morl.experiment.video_files import KeyPictures
from morl.experiment.videos import RecordOptions, spread_rows
from morl.recordings import parse_index

NEEDS_FFMPEG = "imageio-ffmpeg is not installed: pip install '.[video]'"


class BlindWalk(toys.Walk):
    """Takes no render mode and draws nothing."""


@pytest.fixture(autouse=True)
def without_ffmpeg(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record .gif files, which need nothing more, unless a test is about .mp4."""
    if "mp4" not in request.node.name:
        monkeypatch.setattr(video_files, "imageio_ffmpeg", lambda: None)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run_dir = tmp_path_factory.mktemp("walk") / "run"
    toys.train(run_dir, DrawnWalk, 200)
    return run_dir


@pytest.fixture
def run(walk: Path) -> Any:
    return morl.load(walk, env=DrawnWalk)


def clear(run: Any) -> Path:
    folder: Path = run.directory / "videos"
    files.remove_tree(folder)
    return folder


# --- What is recorded is what is evaluated ----------------------------------------------------------------------------

FAMILIES: dict[str, dict[str, Any]] = {
    "deep-sea-treasure-v0": {"config": toys.TINY},
    "minecart-v0": {"config": toys.TINY, "env_options": {"max_episode_steps": 60}},
    "breakable-bottles-v0": {"config": toys.TINY},
    "server-queues-v0": {"config": toys.TINY, "env_options": {"max_episode_steps": 30}},
    "lab/docking-v0": {"config": toys.TINY},
    "lab/linear-quadratic-2-v0": {"agent": "c-morl", "config": toys.TINY_CMORL},
    "building-3d-v0": {"agent": "c-morl", "config": toys.TINY_CMORL, "env_options": {"max_episode_steps": 20}},
    "mec-offloading-v0": {"config": toys.TINY, "env_options": {"max_episode_steps": 20}},
    "water-reservoir-v0": {"agent": "morl-d", "config": toys.TINY_MORLD | {"population": 2}},
    "pgmorl-swimmer-v0": {"agent": "c-morl", "config": toys.TINY_CMORL, "env_options": {"max_episode_steps": 30}},
}


@pytest.mark.parametrize("env", FAMILIES)
def test_the_recorded_returns_are_those_of_evaluate(env: str, tmp_path: Path, without_figures: None) -> None:
    if env.startswith("pgmorl"):
        missing = offscreen.reason_against("egl")
        if missing:
            pytest.skip(f"MuJoCo cannot draw here (.ci/run installs libegl1 and libgl1): {missing}")
    given = {"agent": "pd-morl"} | FAMILIES[env]
    agent = given.pop("agent")
    run = morl.train(agent, env, total_steps=200, run_dir=tmp_path / "run", **toys.SCHEDULE, **given)
    row = len(run.front.points) - 1
    recorded = run.record(row=row, episodes=2, seed=7)
    (recording,) = recorded.recordings
    for episode in range(2):
        returns = run.evaluate(row=row, episodes=1, seed=7 + episode)
        assert recording.returns[episode] == tuple(returns.discounted[0].tolist())
        assert recording.undiscounted_returns[episode] == tuple(returns.undiscounted[0].tolist())
        assert recording.lengths[episode] == returns.lengths[0]
    assert recording.row == row
    assert recording.policy_id == run.front.policy_ids[row]
    assert parse_index((tmp_path / "run" / "videos" / "index.json").read_bytes()).recordings == (recording,)
    assert morl.load(tmp_path / "run").evaluate(row=row, episodes=1, seed=7).discounted.tolist()[0] == [
        *recording.returns[0]
    ]


def test_policies_that_see_the_accrued_reward_are_recorded_as_they_are_evaluated(
    tmp_path: Path, without_figures: None
) -> None:
    config = toys.TINY_MORLD_CONDITIONED | {"augmented_state": True, "utility": "tchebycheff"}
    run = morl.train(
        "morl-d", "deep-sea-treasure-concave-v0", total_steps=200, run_dir=tmp_path / "run", config=config,
        **toys.SCHEDULE,
    )  # fmt: skip
    (recording,) = run.record(row=0, seed=3).recordings
    assert recording.returns[0] == tuple(run.evaluate(row=0, episodes=1, seed=3).discounted[0].tolist())


def test_a_conditioned_network_is_recorded_under_exactly_the_preference(run: Any) -> None:
    clear(run)
    preference = [0.37, 0.63]
    (recording,) = run.record(preference=preference, conditioned=True, seed=4).recordings
    policy = run.policy(preference, conditioned=True)
    returns = morl.evaluate(policy, DrawnWalk, episodes=1, seed=4)
    assert recording.returns[0] == tuple(returns.discounted[0].tolist())
    assert recording.row is None
    assert recording.conditioning == tuple(policy.conditioning.tolist())


def test_recording_the_same_again_gives_the_same_bytes(run: Any) -> None:
    folder = clear(run)
    contents = []
    for _ in range(2):
        run.record(policies=2, seed=1)
        contents.append({file.name: file.read_bytes() for file in folder.iterdir()})
        clear(run)
    assert contents[0] == contents[1]


# --- What is shown ----------------------------------------------------------------------------------------------------


def moments_of(env: Any, every: int) -> tuple[list[Moment], Any]:
    """Play one episode of a walk whose actions are 1, and return its moments and returns."""
    moments: list[Moment] = []

    def act(observations: Any, *_: Any) -> Any:
        return np.ones(len(observations), dtype=np.int64)

    with EpisodePlayer(env, {}, 0.5) as player, player.shown_by(moments.append, every):
        only = np.zeros(1, dtype=np.int64)
        returns = player.evaluator(act, only, np.full((1, 2), np.nan), 1, player.first_seed(11), NO_INPUTS)
    return moments, returns


@pytest.mark.parametrize("every", [1, 3, 100])
def test_start_end_and_every_so_many_steps_are_shown_with_the_returns_so_far(every: int) -> None:
    moments, returns = moments_of(DrawnWalk, every)
    length = int(returns.lengths[0])
    between = list(range(every, length, every))
    assert [moment.step for moment in moments] == [0, *between, length]
    assert moments[0].returns.tolist() == [0.0, 0.0]
    assert moments[-1].returns.tolist() == returns.discounted[0].tolist()
    assert [moment.over for moment in moments] == [False] * (len(moments) - 1) + [True]


def test_a_vector_environment_that_draws_is_shown_up_to_its_last_step() -> None:
    class DrawnVector(SyncVectorEnv):
        def __init__(self, render_mode: str | None = None) -> None:
            super().__init__([lambda: DrawnWalk(render_mode)], autoreset_mode=AutoresetMode.SAME_STEP)
            self.reward_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
            self._rewards = np.zeros((1, 2))

        def render(self) -> Any:
            return tuple(env.render() for env in self.envs)

    moments, returns = moments_of(DrawnVector, 1)
    single, expected = moments_of(DrawnWalk, 1)
    assert returns.discounted.tolist() == expected.discounted.tolist()
    assert len(moments) == len(single) - 1  # its last picture is already of the next episode
    for one, other in zip(moments, single, strict=False):
        assert np.array_equal(one.picture, other.picture)


def test_captions_keep_the_picture_and_have_even_sides() -> None:
    picture = np.full((31, 45, 3), 7, dtype=np.uint8)
    sizes = set()
    names = tuple(f"objective {k}" for k in range(9))
    for step, value in ((0, 0.0), (12, -1.23456e-9), (1000, 1.23e12)):
        whole = captioned(Moment(picture, step, np.full(9, value), False), names, "x")
        sizes.add(whole.shape)
        times = -(-320 // 45)
        assert (whole[: 31 * times, : 45 * times] == 7).all()  # enlarged, its pixels as they were
    ((height, width, _),) = sizes
    assert height % 2 == width % 2 == 0


def test_key_pictures_are_few_even_and_end_with_the_last() -> None:
    kept = KeyPictures()
    for number in range(1_000):
        kept.add(np.full((16, 160, 3), number % 251, dtype=np.uint8))
    picked = [int(picture[0, 0, 0]) for picture in kept.pick(5)]
    assert picked[0] == 0
    assert picked[-1] == 999 % 251
    assert len(kept._kept) <= video_files.KEPT_PICTURES
    alone = KeyPictures()
    alone.add(np.zeros((16, 16, 3), dtype=np.uint8))
    assert len(alone.pick(5)) == 1
    assert alone.late.shape == (160, 160, 3)


# --- Files ------------------------------------------------------------------------------------------------------------


def test_a_recording_is_in_the_index_with_thumbnail_and_sheet(run: Any) -> None:
    folder = clear(run)
    recorded = run.record(policies=200)  # more than there are points
    index = parse_index((folder / "index.json").read_bytes())
    assert index.recordings == recorded.recordings
    assert index.sheet == recorded.sheet
    distinct = len(np.unique(run.front.points, axis=0))
    assert [recording.row for recording in recorded.recordings] == spread_rows(run.front.points, 200)
    assert len(recorded.recordings) == distinct
    for recording, path in zip(recorded.recordings, recorded.videos, strict=True):
        assert path.stat().st_size == recording.bytes
        with Image.open(path) as video:
            assert video.size == (recording.width, recording.height)
            assert video.n_frames > recording.lengths[0]
        with Image.open(folder / recording.thumbnail) as still:
            assert still.size[0] == video_files.THUMBNAIL
    names = {file.name for file in folder.iterdir()}
    pairs = {name for recording in recorded.recordings for name in (recording.file, recording.thumbnail)}
    assert names == pairs | {"index.json", recorded.sheet}


def test_mp4_is_what_browsers_play(run: Any, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    recorded = run.record(tmp_path / "film.mp4", row=0, episodes=2)
    (recording,) = recorded.recordings
    assert list(tmp_path.iterdir()) == [tmp_path / "film.mp4"]
    content = (tmp_path / "film.mp4").read_bytes()
    assert content[4:8] == b"ftyp"
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # faststart
    decode = [ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "film.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(decode, capture_output=True, check=True)
    facts = decoded.stderr.decode()
    assert "Video: h264" in facts
    assert "yuv420p" in facts
    assert f"{recording.width}x{recording.height}, " in facts
    # 20 steps a second, start and end of both episodes, the end of each held for a second
    pictures = sum(recording.lengths) + 2 + 2 * 20
    assert len(decoded.stdout) == pictures * recording.width * recording.height * 3
    assert recording.seconds == pictures / 20


def test_mp4_that_ffmpeg_cannot_write_is_an_error_with_its_words(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    writer = video_files.Mp4(tmp_path / "missing" / "film.mp4", (64, 64), 5.0)

    def write_all() -> None:
        for _ in range(200):
            writer.add(np.zeros((64, 64, 3), dtype=np.uint8))
        writer.close()

    with pytest.raises(OSError, match=r"film.mp4 cannot be written: ffmpeg says .*No such file"):
        write_all()
    writer.close()  # closing it again does nothing


def test_mp4_is_the_usual_kind_where_it_can_be_written(run: Any) -> None:
    pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    clear(run)
    (path,) = run.record(row=0).videos
    assert path.suffix == ".mp4"


class Killed(BaseException):
    """A stop that nobody catches, as the kill of a process."""


def recorded_until(run: Any, stops: int) -> bool:
    """Record two policies, stopped at an operation on files; return whether the recording came to its end."""
    seen = 0

    def stop(operation: str, path: Path) -> None:
        nonlocal seen
        seen += 1
        if seen == stops:
            raise Killed

    try:
        with files.observe(stop):
            run.record(policies=2)
    except Killed:
        return False
    return True


def check_whole(folder: Path) -> None:
    """Check that all that is named as a video is one, and that the index names only what is there."""
    for file in folder.glob("[!.]*.gif"):
        with Image.open(file) as video:
            video.seek(video.n_frames - 1)
    if (folder / "index.json").exists():
        for recording in parse_index((folder / "index.json").read_bytes()).recordings:
            assert (folder / recording.file).stat().st_size == recording.bytes
            assert (folder / recording.thumbnail).exists()


def test_a_recording_that_is_stopped_anywhere_leaves_no_half_video(run: Any) -> None:
    for stops in range(1, 100):
        folder = clear(run)
        done = recorded_until(run, stops)
        check_whole(folder)
        if done:
            break
    assert 10 < stops < 99


def test_a_killed_process_leaves_no_half_video_and_the_next_one_cleans_up(run: Any, tmp_path: Path) -> None:
    folder = clear(run)
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2]); import morl, test_videos;"
        "from morl.experiment import video_files; video_files.imageio_ffmpeg = lambda: None;"
        "original = video_files.Gif.close; told = lambda: print('written', flush=True);"
        "video_files.Gif.close = lambda self: (original(self), told(), time.sleep(60));"
        "morl.load(sys.argv[1], env=test_videos.DrawnWalk).record(row=0)"
    )
    command = [sys.executable, "-c", code, str(run.directory), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    left = [file.name for file in folder.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".partial-")
    run.record(row=0)
    assert not [file for file in folder.iterdir() if file.name.startswith(".partial-")]


def test_two_processes_do_not_record_into_one_folder(run: Any) -> None:
    folder = clear(run)
    folder.mkdir()
    with locked(folder, "occupied"), pytest.raises(FolderInUse, match="another process that records into it"):
        run.record(row=0)
    run.record(row=0)


def test_an_index_that_cannot_be_read_is_replaced_with_a_line(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = clear(run)
    folder.mkdir()
    (folder / "index.json").write_text("{half")
    (recording,) = run.record(row=0).recordings
    assert "is replaced: videos/index.json is damaged" in caplog.text
    assert parse_index((folder / "index.json").read_bytes()).recordings == (recording,)


def test_links_are_not_written_through(run: Any, tmp_path: Path) -> None:
    folder = clear(run)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a link"):
        run.record(row=0)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    folder.unlink()
    (tmp_path / "target.gif").write_text("mine")
    (tmp_path / "link.gif").symlink_to(tmp_path / "target.gif")
    with pytest.raises(OSError, match="is a link"):
        run.record(tmp_path / "link.gif", row=0)
    assert (tmp_path / "target.gif").read_text() == "mine"


def test_videos_belong_to_the_run_and_go_with_it(walk: Path, tmp_path: Path, without_figures: None) -> None:
    run = toys.train(tmp_path / "run", DrawnWalk, 200)
    run.record(row=0)
    morl.resume(tmp_path / "run", total_steps=260, env=DrawnWalk)
    assert (tmp_path / "run" / "videos" / "index.json").exists()
    toys.train(tmp_path / "run", DrawnWalk, 200, overwrite=True)
    assert not (tmp_path / "run" / "videos").exists()


# --- Which policies ---------------------------------------------------------------------------------------------------


def test_policies_are_spread_evenly_with_both_ends() -> None:
    angles = np.linspace(0.0, np.pi / 2, 91)
    front = np.stack([1000.0 * np.sin(angles), np.cos(angles)], axis=1)
    assert spread_rows(front, 2) == [0, 90]
    assert spread_rows(front, 3) == [0, 45, 90]
    assert spread_rows(front, 9) == pytest.approx(np.linspace(0, 90, 9), abs=6)
    assert spread_rows(front, 500) == list(range(91))
    # Many points in one place are one behavior.
    crowded = np.concatenate([np.repeat(front[:1], 300, axis=0), front[[30, 60, 90]]])
    assert spread_rows(crowded, 4) == [0, 300, 301, 302]
    assert spread_rows(crowded, 9) == [0, 300, 301, 302]


def test_a_front_of_one_point_has_one_policy_and_three_objectives_have_their_best() -> None:
    assert spread_rows(np.array([[3.0, 4.0]]), 9) == [0]
    points = np.random.default_rng(0).normal(size=(50, 3))
    rows = spread_rows(points, 5)
    assert set(points.argmax(axis=0)) <= set(rows)
    assert len(rows) == 5
    assert points[rows, 0].tolist() == sorted(points[rows, 0])


# --- Bad input --------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "exactly one of preference, row, policies must be given"),
    "two": ({"row": 0, "policies": 3}, "exactly one of preference, row, policies must be given"),
    "no such row": ({"row": 99}, "row is 99, but must lie between 0 and"),
    "negative row": ({"row": -1}, "row is -1, but must lie between 0 and"),
    "short preference": ({"preference": [1.0]}, "preference"),
    "no policies": ({"policies": 0}, "policies is 0, but must be at least 1"),
    "too many": ({"policies": 201}, "policies is 201, but must be at most 200"),
    "half a policy": ({"policies": 2.5}, "policies is 2.5"),
    "all in one file": ({"policies": 3, "file": "x.gif"}, "file cannot be given with it"),
    "all conditioned": ({"policies": 3, "conditioned": True}, "conditioned cannot be given with it"),
    "row conditioned": ({"row": 0, "conditioned": True}, "no preference is given"),
    "no episode": ({"row": 0, "episodes": 0}, "episodes is 0, but must be at least 1"),
    "negative seed": ({"row": 0, "seed": -1}, "seed is -1, but must be at least 0"),
    "another kind": ({"row": 0, "file": "x.avi"}, "file is 'x.avi', but must end in .mp4 or .gif"),
    "no folder": ({"row": 0, "file": "nowhere/x.gif"}, "but nowhere is not a folder"),
    "mp4 without ffmpeg": ({"row": 0, "file": "x.mp4"}, "needs the package imageio-ffmpeg"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_answered_in_a_sentence_before_anything_is_written(
    name: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(videos, "imageio_ffmpeg", lambda: None)
    arguments, sentence = WRONG[name]
    with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
        run.record(**arguments)
    assert not (run.directory / "videos").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("speed", [-1.0, 0.0, float("nan"), float("inf")])
def test_time_passes_forwards_and_not_too_fast(speed: float) -> None:
    with pytest.raises(
        ValueError, match=f"steps_per_second is {speed}, but must be greater than 0 and at most 100,000"
    ):
        RecordOptions(steps_per_second=speed)


def test_an_environment_without_pictures_is_refused(tmp_path: Path, without_figures: None) -> None:
    toys.train(tmp_path / "run", "toy-walk-v0", 200)
    with pytest.raises(ValueError, match=r"toy-walk-v0 draws no pictures"):
        morl.load(tmp_path / "run").record(row=0)
    blind = toys.train(tmp_path / "blind", BlindWalk, 200)
    with pytest.raises(ValueError, match=r"BlindWalk draws no pictures: render\(\) must return pixels"):
        blind.record(row=0)
    assert not [file for file in (tmp_path / "blind" / "videos").iterdir() if file.suffix in (".gif", ".png")]


BAD_PICTURES: dict[str, Any] = {
    "text": lambda: "picture", "nothing": lambda: None, "gray": lambda: np.zeros((5, 5)),
    "four colors": lambda: np.zeros((5, 5, 4), dtype=np.uint8), "empty": lambda: np.zeros((0, 5, 3), dtype=np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_what_is_no_picture_is_refused(name: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clear(run)
    monkeypatch.setattr(DrawnWalk, "render", lambda self: BAD_PICTURES[name]())
    with pytest.raises(ValueError, match=r"draws no pictures: render\(\) must return pixels"):
        run.record(row=0)


def test_the_environment_of_a_folder_is_not_imported_without_trust(
    tmp_path: Path, without_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.train(tmp_path / "run", "deep-sea-treasure-v0", 200)
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace('"deep-sea-treasure-v0"', '"nothing_of_ours:Env-v0"'))
    with pytest.raises(ValueError, match="trust=True"):
        morl.load(tmp_path / "run").record(row=0)
    assert "nothing_of_ours" not in sys.modules


# --- The command line -------------------------------------------------------------------------------------------------


def test_the_command_records_and_says_where(
    tmp_path: Path, morl_cli: Callable[..., tuple[int, str, str]], without_figures: None
) -> None:
    run = toys.train(tmp_path / "run", "deep-sea-treasure-v0", 400)
    code, out, err = morl_cli("watch", tmp_path / "run", "--all", 3, "--seed", 5, "--steps-per-second", 50)
    assert (code, err) == (0, "")
    index = json.loads((tmp_path / "run" / "videos" / "index.json").read_text())
    assert len(index["videos"]) == min(3, len(np.unique(run.front.points, axis=0)))
    for entry in index["videos"]:
        assert f"{entry['file']}  row {entry['row']}, seed 5" in out
    assert "recorded in" in out
    code, out, err = morl_cli("watch", tmp_path / "run", "--preference", 0.7, 0.3, "--video", tmp_path / "film.gif")
    assert (code, err) == (0, "")
    assert (tmp_path / "film.gif").read_bytes().startswith(b"GIF89a")
    row = run.best_row([0.7, 0.3])
    assert f"film.gif  row {row}, seed 0" in out
    code, _, err = morl_cli("watch", tmp_path / "run", "--row", 0, "--record", "--video", tmp_path / "film.gif")
    assert code == 2
    assert err.startswith("morl: --video and --record are both given")
    code, _, err = morl_cli("watch", tmp_path / "run", "--record")
    assert code == 2
    assert err.startswith("morl: exactly one of --preference, --row, --all must be given")


def test_a_window_without_a_display_is_refused_in_a_sentence(
    run: Any, morl_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="there is no display to open a window on"):
        run.watch([0.5, 0.5])
    assert "SDL_VIDEODRIVER" not in os.environ


def test_recording_is_quick_enough_to_be_used(run: Any) -> None:
    clear(run)
    begin = time.process_time()
    run.record(row=0)
    assert time.process_time() - begin < 5.0
