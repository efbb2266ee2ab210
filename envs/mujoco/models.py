"""PG-MORL's robots: Gymnasium's own models, and the constants in which PG-MORL's differ.

Read as "in Gymnasium's `file`, at this element, this attribute is `stock` and becomes `value`". Only what the physics
feels is listed: PG-MORL's floors are larger, its cameras stand elsewhere, and two of its models are written in global
coordinates, which MuJoCo no longer reads. Gymnasium's files are read where they are installed; nothing is copied.
Source: PG-MORL's model files (github mit-gfx/PGMORL at 1232c27), which PD-MORL uses unchanged.
"""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import gymnasium.envs.mujoco
import mujoco


class Change(NamedTuple):
    """One attribute of a model that PG-MORL sets differently."""

    element: str
    """Path of the elements inside the model, in ElementTree's notation; all that match are changed."""
    attribute: str
    stock: str
    value: str


FILES = {
    "swimmer": "swimmer.xml",
    "halfcheetah": "half_cheetah.xml",
    "walker2d": "walker2d_v5.xml",
    "hopper": "hopper.xml",
    "ant": "ant.xml",
    "humanoid": "humanoid.xml",
}
CHANGES = {
    "swimmer": [Change("actuator/motor", "gear", "150.0", "300")],
    "halfcheetah": [],
    "walker2d": [
        Change("default/joint", "damping", ".1", "3"),
        Change("default/geom", "density", "1000", "1500"),
        Change(".//geom[@name='foot_geom']", "friction", "1.9", "0.9"),  # the right foot; the left one keeps 1.9
    ],
    "hopper": [
        Change("default/joint", "damping", "1", "40"),
        Change("default/joint", "limited", "true", "false"),
        Change("actuator/motor[@joint='thigh_joint']", "ctrlrange", "-1.0 1.0", "-2 2"),
        Change("actuator/motor[@joint='leg_joint']", "ctrlrange", "-1.0 1.0", "-2 2"),
        Change("actuator/motor[@joint='foot_joint']", "ctrlrange", "-1.0 1.0", "-4 4"),
        Change("actuator/motor[@joint='foot_joint']", "gear", "200.0", "300"),
    ],
    "ant": [Change("actuator/motor", "gear", "150", "100")],
    "humanoid": [],
}


def path(robot: str) -> Path:
    """Return where Gymnasium keeps its model of the robot."""
    return Path(gymnasium.envs.mujoco.__file__).parent / "assets" / FILES[robot]


def load(robot: str) -> mujoco.MjModel:
    """Return PG-MORL's model of a robot.

    Raises:
        ValueError: Gymnasium's model is not the one that `CHANGES` was written for.
    """
    root = ElementTree.parse(path(robot)).getroot()
    for change in CHANGES[robot]:
        found = root.findall(change.element)
        if not found or any(element.get(change.attribute) != change.stock for element in found):
            values = [element.get(change.attribute) for element in found]
            raise ValueError(
                f"{FILES[robot]} of the installed Gymnasium must have {change.attribute}='{change.stock}' "
                f"at {change.element}, got {values}"
            )
        for element in found:
            element.set(change.attribute, change.value)
    total = root.find("compiler").attrib.pop("settotalmass", None)  # type: ignore[union-attr] # MuJoCo deprecates it
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    if total is not None:
        mujoco.mj_setTotalmass(model, float(total))
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model
