"""Draw the pictures of the pages of environments: python docs/_site/pictures.py [FAMILY ...].

One contact sheet a family, each environment after some random steps of its episode with seed 0, as it draws itself.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from morl.envs import make, specs
from morl.envs.core.quiet import quiet
from morl.envs.mujoco.offscreen import follow_robot, is_drawn_by_mujoco, offscreen

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window
PICTURES = Path(__file__).resolve().parents[1] / "pictures"
FAMILIES: dict[str, tuple[str, ...]] = {
    "classic": (
        "deep-sea-treasure-v0",
        "deep-sea-treasure-concave-v0",
        "fruit-tree-v0",
        "resource-gathering-v0",
        "four-room-v0",
        "minecart-v0",
        "mo-mountaincar-v0",
        "water-reservoir-v0",
        "breakable-bottles-v0",
    ),
    "mujoco": (
        "mo-hopper-v5",
        "mo-halfcheetah-v5",
        "mo-walker2d-v5",
        "mo-ant-v5",
        "mo-swimmer-v5",
        "mo-humanoid-v5",
        "mo-reacher-v5",
        "pgmorl-swimmer-v0",
        "cmorl-hopper-2d-v0",
    ),
    "families": ("building-3d-v0", "mec-offloading-v0", "server-queues-v0", "recall-v0"),
    "lab": tuple(name for name in specs if name.startswith("lab/")),
}
STEPS = 3
TILE = (320, 240)
LABEL = 22


def picture_of(name: str) -> Image.Image:
    """Return the picture of an environment after some random steps that do not end its episode."""
    with quiet(warns_of_total_mass=True):
        env = make(name, render_mode="rgb_array")
        robot = is_drawn_by_mujoco(env)
        if robot:
            follow_robot(env)
        with offscreen() if robot else nullcontext():
            _, info = env.reset(seed=0)
            generator = np.random.default_rng(1)
            for _ in range(STEPS):
                allowed = np.flatnonzero(info["action_mask"]) if "action_mask" in info else None
                env.action_space.seed(int(generator.integers(1_000)))
                action = env.action_space.sample() if allowed is None else generator.choice(allowed)
                _, _, terminated, truncated, info = env.step(action)
                if terminated or truncated:
                    _, info = env.reset(seed=1)
            pixels = np.asarray(env.render())
        env.close()
    return Image.fromarray(pixels)


def sheet(names: Sequence[str], columns: int) -> Image.Image:
    """Return the pictures of environments as one, with their ids below them."""
    rows = -(-len(names) // columns)
    width, height = TILE
    whole = Image.new("RGB", (columns * width, rows * (height + LABEL)), "white")
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(15)
    for number, name in enumerate(names):
        left = number % columns * width
        top = number // columns * (height + LABEL)
        picture = picture_of(name)
        picture.thumbnail((width - 8, height - 8), Image.Resampling.LANCZOS)
        whole.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
        draw.text((left + width // 2, top + height + LABEL // 2), name, "black", font, anchor="mm")
    return whole


def main(families: Sequence[str]) -> None:
    """Write the sheets of some families, or of all."""
    for family in families or FAMILIES:
        names = FAMILIES[family]
        image = sheet(names, columns=2 if len(names) == 4 else 3)
        image.quantize(128).save(PICTURES / f"environments-{family}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
