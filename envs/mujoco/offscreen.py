"""MuJoCo's pictures without a display: which OpenGL works here, found by trying it in another process.

EGL comes first: Debian's libegl1 and libgl1 draw with it on a machine without a graphics card. A backend that does not
work may end the whole process (MuJoCo 4.0 with GLFW and no display does), so each is tried in a child.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import mujoco

from morl.envs.core.types import Env

CHOICE = "MUJOCO_GL"
"""The environment variable by which MuJoCo and Gymnasium choose OpenGL."""
BACKENDS = ("egl", "osmesa")
PACKAGES = {"egl": "libegl1 and libgl1", "osmesa": "libosmesa6"}
"""Debian's packages for each backend."""
LONGEST_TRY = 60.0  # s
_PROGRAM = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(mujoco.MjData(model))
    renderer.render()
"""


def is_drawn_by_mujoco(env: Env) -> bool:
    """Return whether an environment holds a MuJoCo model."""
    return any(isinstance(value, mujoco.MjModel) for value in vars(env.unwrapped).values())


def follow_robot(env: Env) -> None:
    """Have the camera follow what runs away: Gymnasium's stands still, and a robot soon leaves its picture.

    The model's own camera "track" is taken, or else one that follows the first body, where that can leave its place.

    Args:
        env: holds a MuJoCo model.
    """
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    model = getattr(renderer, "model", None)
    if renderer is None or model is None or not hasattr(renderer, "camera_id"):
        return
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if camera >= 0:
        renderer.camera_id = camera
    elif model.nbody > 1 and model.body_dofnum[1] > 1:  # more than a hinge or a rail
        renderer.camera_id = None  # or else Gymnasium sets the camera free before each picture
        tracking = {"type": int(mujoco.mjtCamera.mjCAMERA_TRACKING), "trackbodyid": 1, "distance": 4.0}
        renderer.default_cam_config = tracking | {"elevation": -15.0}


@contextmanager
def offscreen() -> Iterator[None]:
    """Have MuJoCo draw without a display while the block runs, by a backend that works here.

    Raises:
        ValueError: none does, with a sentence that names the missing packages.
    """
    chosen = os.environ.get(CHOICE)
    backend = _working_backend(chosen)
    if chosen is not None or backend is None:
        yield
        return
    os.environ[CHOICE] = backend
    try:
        yield
    finally:
        os.environ.pop(CHOICE, None)


@cache
def _working_backend(chosen: str | None) -> str | None:
    """Return the first backend that draws; None for the system's own, which needs no choice, outside Linux.

    Args:
        chosen: what MUJOCO_GL says; nothing else is tried then.
    """
    if chosen is None and not sys.platform.startswith("linux"):
        return None
    reasons = {}
    for backend in BACKENDS if chosen is None else (chosen,):
        reason = reason_against(backend)
        if reason is None:
            return backend
        reasons[backend] = reason
    tried = "; ".join(f"{name} ({reason})" for name, reason in reasons.items())
    packages = PACKAGES.get(chosen or "egl", PACKAGES["egl"])
    remedy = f"install Debian's {packages} (apt-get install {packages.replace(' and ', ' ')})"
    if chosen is not None:
        remedy += f", or unset {CHOICE}"
    raise ValueError(f"MuJoCo cannot draw without a display here, tried: {tried}; {remedy}")


def reason_against(backend: str) -> str | None:
    """Return why a backend does not draw here; None where it does.

    Args:
        backend: "egl", "osmesa" or "glfw".
    """
    environment = {**os.environ, CHOICE: backend}
    environment.pop("PYOPENGL_PLATFORM", None)  # another one that this process has loaded
    command = [sys.executable, "-c", _PROGRAM]
    try:
        tried = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_TRY)
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    if tried.returncode == 0:
        return None
    lines = [line for line in tried.stderr.splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else f"exit code {tried.returncode}"
