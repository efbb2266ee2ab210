"""The window and its keys, without a window: what acts, what is shown, and how it ends."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys
from drawn import DrawnWalk

import morl
from morl.experiment import watching
from morl.experiment.rendering import EpisodePlayer
from morl.experiment.watching import Steering, open_window, watch


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run_dir = tmp_path_factory.mktemp("walk") / "run"
    toys.train(run_dir, DrawnWalk, 400)
    return run_dir


@pytest.fixture
def run(walk: Path) -> Any:
    return morl.load(walk, env=DrawnWalk)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes only where the window waits."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


class FakeWindow:
    """Shows nothing, remembers the titles and times of what is shown, and presses keys: number of a picture -> keys."""

    def __init__(self, clock: Any, keys: dict[int, str]) -> None:
        self.clock = clock
        self.script = keys
        self.shown: list[tuple[Any, str, float]] = []
        self.waited = 0

    def show(self, picture: Any, title: str) -> None:
        self.shown.append((picture, title, self.clock.seconds))
        assert len(self.shown) < 1_000

    def pressed_keys(self) -> list[str]:
        return self.script.pop(len(self.shown), "").split()

    def wait(self, seconds: float) -> None:
        assert seconds > 0.0
        self.clock.seconds += seconds
        self.waited += 1
        if self.waited == 500:  # paused: somebody comes back
            self.script[len(self.shown)] = "space"


# --- Steering ---------------------------------------------------------------------------------------------------------


def test_left_and_right_walk_along_the_front_and_stop_at_its_ends(run: Any) -> None:
    points = run.front.points
    steering = Steering(run, None, int(points[:, 0].argmin()), conditioned=False)
    rows = [steering.row]
    for _ in range(len(points) + 2):
        steering.press("right")
        rows.append(steering.row)
        assert steering.policy.policy_id == run.front.policy_ids[steering.row]
        assert np.array_equal(steering.policy.conditioning, run.front.preferences[steering.row])
    assert sorted(set(rows)) == list(range(len(points)))
    assert (np.diff(points[rows, 0]) >= 0.0).all()
    assert rows[-1] == rows[-2]
    steering.press("left")
    assert steering.row == rows[len(points) - 2]


def test_up_and_down_move_the_weight_of_one_objective_and_choose_as_policy_does(run: Any) -> None:
    steering = Steering(run, [0.5, 0.5], None, conditioned=False)
    assert steering.row == run.best_row([0.5, 0.5])
    steering.press("up")
    np.testing.assert_allclose(steering.preference, [0.55, 0.45])
    assert steering.row == run.best_row(steering.preference)
    steering.press("tab")
    assert "weight of rest" not in steering.help
    assert run.front.objectives[1] in steering.help
    for _ in range(30):
        steering.press("up")
    np.testing.assert_allclose(steering.preference, [0.0, 1.0], atol=1e-12)
    assert steering.row == run.best_row([0.0, 1.0])
    for _ in range(40):
        steering.press("down")
    np.testing.assert_allclose(steering.preference, [1.0, 0.0], atol=1e-12)
    assert steering.preference.sum() == pytest.approx(1.0)


def test_a_conditioned_network_follows_the_preference_itself(run: Any) -> None:
    steering = Steering(run, [0.3, 0.7], None, conditioned=True)
    assert steering.row is None
    assert "conditioned on (0.30, 0.70)" in steering.title
    before = steering.policy.conditioning
    steering.press("up")
    assert steering.row is None
    assert not np.array_equal(steering.policy.conditioning, before)
    expected = run.policy(steering.preference.tolist(), conditioned=True).conditioning
    assert np.array_equal(steering.policy.conditioning, expected)
    steering.press("c")
    assert steering.row == run.best_row(steering.preference)
    steering.press("c")
    assert steering.row is None
    steering.press("right")  # back onto the front, at the policy that serves the preference best
    assert steering.row == run.best_row(steering.preference)


def test_other_keys_pause_change_speed_and_leave(run: Any) -> None:
    steering = Steering(run, None, 0, conditioned=False)
    steering.press("space")
    assert steering.paused
    assert "paused" in steering.title
    steering.press("space")
    for _ in range(20):
        steering.press("+")
    assert steering.speed == watching.FASTEST
    for _ in range(20):
        steering.press("-")
    assert steering.speed == watching.SLOWEST
    wishes = []
    for key in ("r", "n", "q", "escape", "x", "f1", ""):
        steering.wish = ""
        steering.press(key)
        wishes.append(steering.wish)
    assert wishes == ["restart", "next", "quit", "quit", "", "", ""]


WRONG: list[tuple[Any, Any, bool, str]] = [
    ([0.5], None, False, "preference"),
    ([-1.0, 2.0], None, False, "preference"),
    (None, 99, False, "row is 99"),
    ([0.5, 0.5], 0, False, "one of preference and row must be given"),
    (None, 0, True, "no preference is given"),
]


@pytest.mark.parametrize(("preference", "row", "conditioned", "sentence"), WRONG)
def test_wrong_choices_are_refused(preference: Any, row: Any, conditioned: bool, sentence: str, run: Any) -> None:
    with pytest.raises(ValueError, match=sentence):
        Steering(run, preference, row, conditioned)


def test_a_front_of_one_point_can_be_watched(run: Any, clock: Any) -> None:
    best = run.front.points.argmax(axis=0)[:1]
    alone = SimpleNamespace(
        front=SimpleNamespace(points=run.front.points[best], objectives=run.front.objectives),
        policy=lambda preference=None, *, row=None, conditioned=False: run.policy(row=int(best[0])),
        best_row=lambda preference: 0,
    )
    steering = Steering(alone, [0.5, 0.5], None, conditioned=False)
    for key in ("left", "right", "up", "down"):
        steering.press(key)
        assert steering.row == 0


# --- Watching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def player(run: Any) -> Iterator[EpisodePlayer]:
    with EpisodePlayer(DrawnWalk, {}, run.front.discount) as made:
        yield made


def test_episodes_follow_one_another_with_their_seeds_and_last_as_long_as_they_should(
    run: Any, player: EpisodePlayer, clock: Any
) -> None:
    steering = Steering(run, None, 0, conditioned=False)
    window = FakeWindow(clock, {40: "q"})
    watch(player, steering, window, seed=5)
    assert len(window.shown) == 40
    # Each title names the seed: the caption itself is in the picture.
    lengths = [int(run.evaluate(row=0, episodes=1, seed=5 + k).lengths[0]) + 1 for k in range(10)]
    ends = np.cumsum(lengths) - 1
    times = np.array([seconds for _, _, seconds in window.shown])
    gaps = np.diff(times)
    expected = [1.0 if place in ends else 1 / DrawnWalk.metadata["render_fps"] for place in range(39)]
    assert gaps == pytest.approx(expected, abs=0.011)


def test_the_policy_changes_while_it_runs(run: Any, player: EpisodePlayer, clock: Any) -> None:
    order = np.lexsort(run.front.points.T[::-1])
    acted: list[int] = []
    steering = Steering(run, None, int(order[0]), conditioned=False)

    class Noting(FakeWindow):
        def show(self, picture: Any, title: str) -> None:
            super().show(picture, title)
            acted.append(int(steering.row))  # type: ignore[arg-type]

    watch(player, steering, Noting(clock, {2: "right", 5: "right left left", 9: "q"}), seed=0)
    assert acted[:2] == [order[0]] * 2
    assert acted[2] == order[1]
    assert acted[-1] == order[0]


def test_again_shows_the_same_episode_and_next_another_one(run: Any, player: EpisodePlayer, clock: Any) -> None:
    steering = Steering(run, None, 0, conditioned=False)
    window = FakeWindow(clock, {4: "r", 8: "n", 12: "q"})
    watch(player, steering, window, seed=3)
    pictures = [picture for picture, _, _ in window.shown]
    for first, again in zip(pictures[:4], pictures[4:8], strict=True):
        assert np.array_equal(first, again)
    assert not np.array_equal(pictures[8], pictures[0])


def test_paused_time_stands_still_and_keys_still_work(run: Any, player: EpisodePlayer, clock: Any) -> None:
    steering = Steering(run, None, 0, conditioned=False)
    window = FakeWindow(clock, {3: "space", 4: "right", 9: "q"})
    watch(player, steering, window, seed=0)
    assert window.waited > 500  # it waited until the fake window went on
    assert clock.seconds > 5.0
    assert not np.array_equal(window.shown[3][0], window.shown[2][0])  # the caption says that it is paused


def test_an_unsteered_episode_is_the_one_of_evaluate(run: Any, player: EpisodePlayer, clock: Any) -> None:
    steering = Steering(run, None, 1, conditioned=False)
    projector = watching._Projector(player, steering, FakeWindow(clock, {}), 9)
    nothing = np.full((1, 2), np.nan)
    with player.shown_by(projector.show):
        only = np.zeros(1, dtype=np.int64)
        returns = player.evaluator(projector.act, only, nothing, 1, player.first_seed(9), projector.bank.act_inputs)
    assert np.array_equal(returns.discounted, run.evaluate(row=1, episodes=1, seed=9).discounted)


def test_the_real_window_shows_and_returns_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with open_window() as window:
        picture = np.zeros((40, 60, 3), dtype=np.uint8)
        picture[5, 7] = (10, 20, 30)
        window.show(picture, "a title")
        assert pygame.display.get_surface().get_size() == (60, 40)
        assert tuple(pygame.display.get_surface().get_at((7, 5)))[:3] == (10, 20, 30)
        assert pygame.display.get_caption()[0] == "a title"
        for key, letter in ((pygame.K_LEFT, ""), (pygame.K_SPACE, " "), (pygame.K_EQUALS, "+"), (pygame.K_q, "q")):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, unicode=letter))
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        assert window.pressed_keys() == ["left", "space", "+", "q", "q"]
        assert window.pressed_keys() == []
        window.wait(0.001)
    assert not pygame.display.get_init()


def test_watch_opens_a_window_and_ends_with_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown: list[Any] = []
    original = watching._PygameWindow.show

    def show(self: Any, picture: Any, title: str) -> None:
        original(self, picture, title)
        shown.append(picture)
        if len(shown) == 5:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    monkeypatch.setattr(watching._PygameWindow, "show", show)
    run.watch()  # all objectives alike
    assert len(shown) == 5
