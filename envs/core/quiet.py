"""Build environments without their packages' noise, and without a trace in the process of the user."""

import contextlib
import os
import warnings
from collections.abc import Iterator

SILENT_PYGAME = {
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "SDL_AUDIODRIVER": "dummy",  # no environment makes a sound, and a missing sound card makes noise
}


@contextlib.contextmanager
def quiet(warns_of_total_mass: bool = False) -> Iterator[None]:
    """Silence what packages print while their environments are imported and built; restore everything afterwards.

    pygame prints a greeting and looks for a sound card. mo-gymnasium gives float64 bounds to float32 boxes, which
    Gymnasium warns about.

    Args:
        warns_of_total_mass: also silence MuJoCo 4 where it deprecates `settotalmass`, as in the halfcheetah's model;
            every instance would print that and append it to MUJOCO_LOG.TXT in the working directory.
    """
    models = _quiet_models() if warns_of_total_mass else contextlib.nullcontext()
    with warnings.catch_warnings(), _environment_variables(), models:
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        yield


@contextlib.contextmanager
def _environment_variables() -> Iterator[None]:
    """Set `SILENT_PYGAME` where the user has set nothing, and remove it afterwards."""
    added = [name for name in SILENT_PYGAME if name not in os.environ]
    for name in added:
        os.environ[name] = SILENT_PYGAME[name]
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet_models() -> Iterator[None]:
    import mujoco  # here, for those environments that need it anyway

    def warn(message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(f"MuJoCo: {message}", stacklevel=2)

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(warn)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
