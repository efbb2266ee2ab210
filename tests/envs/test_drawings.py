"""Pictures of our own families: every one draws itself, and drawing changes nothing."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from morl.envs import make, specs
from morl.envs.core.drawing import COLORS, Drawing, text_width
from morl.envs.mujoco import offscreen

OWN = [name for name, entry in specs.items() if "families" in str(entry.entry_point)]


def actions_of(env: Any, steps: int) -> list[Any]:
    env.action_space.seed(3)
    chosen = []
    _, info = env.reset(seed=5)
    for _ in range(steps):
        action = env.action_space.sample(info["action_mask"]) if "action_mask" in info else env.action_space.sample()
        chosen.append(action)
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    return chosen


def trace(env: Any, actions: list[Any], draw: bool) -> list[Any]:
    outcomes = [env.reset(seed=5)[0]]
    for action in actions:
        if draw:
            env.render()
        observation, reward, *_ = env.step(action)
        outcomes += [observation, reward]
    return outcomes


@pytest.mark.parametrize("name", OWN)
def test_every_family_draws_itself_and_its_steps_show(name: str) -> None:
    env = make(name, render_mode="rgb_array")
    assert env.metadata["render_fps"] > 0
    actions = actions_of(env, 4)
    env.reset(seed=5)
    first = env.render()
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    assert min(first.shape[:2]) >= 200
    pictures = [first]
    for action in actions:
        env.step(action)
        pictures.append(env.render())
        assert pictures[-1].shape == first.shape
    assert any((picture != first).any() for picture in pictures)
    env.reset(seed=5)
    assert np.array_equal(env.render(), first)  # the last action is forgotten


@pytest.mark.parametrize("name", OWN)
def test_drawing_changes_no_number(name: str) -> None:
    plain = make(name)
    actions = actions_of(plain, 5)
    drawn = make(name, render_mode="rgb_array")
    for one, other in zip(trace(plain, actions, draw=False), trace(drawn, actions, draw=True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_options_change_the_picture_too() -> None:
    env = make("server-queues-v0", render_mode="rgb_array", queues=64)
    env.reset(seed=0)
    assert env.render().shape == (400, 640, 3)
    env = make("mec-offloading-v0", render_mode="rgb_array", edges=(32, 32))
    env.reset(seed=0)
    assert env.render().shape == (400, 640, 3)


def test_other_render_modes_are_refused_and_without_one_nothing_is_drawn() -> None:
    with pytest.raises(ValueError, match="render_mode is 'human', but must be None or 'rgb_array'"):
        make("lab/dam-v0", render_mode="human").unwrapped  # noqa: B018 - building it raises
    env = make("lab/dam-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="render_mode is None"):
        env.unwrapped.render()


def test_shapes_lie_where_they_were_put() -> None:
    sheet = Drawing(40, 30)
    sheet.rectangle((30, 20), (10, 10), (200, 0, 0))  # corners in any order
    sheet.circle((5, 25), 3, "blue")
    pixels = sheet.pixels()
    assert pixels.shape == (30, 40, 3)
    assert pixels[15, 20].tolist() == [200, 0, 0]
    assert pixels[25, 5].tolist() == [*COLORS["blue"]]
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert text_width("wider words", 15.0) > text_width("words", 15.0) > 0.0


def test_importing_the_environments_imports_nothing_to_draw_with() -> None:
    code = "import sys, morl.envs; print('PIL' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# --- MuJoCo without a display -----------------------------------------------------------------------------------------


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say what works instead of trying it: a table backend -> reason, and the list of what was tried."""
    works: dict[str, str | None] = {}
    asked: list[str] = []

    def reason_against(backend: str) -> str | None:
        asked.append(backend)
        return works[backend]

    monkeypatch.setattr(offscreen, "reason_against", reason_against)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    offscreen._working_backend.cache_clear()
    yield works, asked
    offscreen._working_backend.cache_clear()


def test_egl_comes_first_then_osmesa_and_the_choice_is_taken_back(tried: Any) -> None:
    works, asked = tried
    works |= {"egl": "no library", "osmesa": None}
    for _ in range(2):
        with offscreen.offscreen():
            assert os.environ["MUJOCO_GL"] == "osmesa"
        assert "MUJOCO_GL" not in os.environ
    assert asked == ["egl", "osmesa"]  # tried once


def test_where_nothing_draws_a_sentence_names_the_packages(tried: Any) -> None:
    works, _ = tried
    works |= {"egl": "ImportError: Cannot initialize", "osmesa": "AttributeError: glGetError"}
    sentence = r"egl \(ImportError.*osmesa \(Attr.*install Debian's libegl1 and libgl1"
    with pytest.raises(ValueError, match=sentence), offscreen.offscreen():
        pass


def test_what_the_user_chose_is_tried_alone(tried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    works, asked = tried
    works["glfw"] = "FatalError"
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(ValueError, match=r"tried: glfw \(FatalError\).*or unset MUJOCO_GL"), offscreen.offscreen():
        pass
    works["glfw"] = None
    offscreen._working_backend.cache_clear()
    with offscreen.offscreen():
        assert os.environ["MUJOCO_GL"] == "glfw"
    assert os.environ["MUJOCO_GL"] == "glfw"
    assert set(asked) == {"glfw"}


def test_a_backend_that_ends_the_process_is_a_reason_not_a_crash() -> None:
    assert offscreen.reason_against("no-such-backend")
