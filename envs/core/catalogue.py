"""The table of environments: objective names, discount, reference point and known front, each with its source.

Data only; nothing is imported from mo-gymnasium here. `Spec.source` says where discount and reference point come from;
"morl" marks our own choice (a bound on the worst discounted return) where no publication names one.
"""

from morl.envs.classic import fronts
from morl.envs.core.spec import Spec

_BASELINES = "morl-baselines examples"
_BOUND = "morl: a bound on the worst discounted return"
_MUJOCO = "morl-baselines and C-MORL: -100 in every objective"
_BOX2D, _HIGHWAY = "box2d==2.3.10", "highway-env"

_TREASURE = ("treasure", "time")
_NUTRIENTS = ("protein", "carbohydrates", "fats", "vitamins", "minerals", "water")
_MINECART = ("first_ore", "second_ore", "fuel")
_LANDER = ("landing", "shaping", "main_engine", "side_engine")
_HIGHWAY_OBJECTIVES = ("speed", "right_lane", "collision")
_REACHER = ("first_target", "second_target", "third_target", "fourth_target")
_HOPPER = ("speed", "height", "energy")
_SPEED_ENERGY = ("speed", "energy")
_ANT = ("x_speed", "y_speed", "energy")


def _tabular() -> list[Spec]:
    concave, mirrored = fronts.deep_sea_treasure_concave, fronts.deep_sea_treasure_mirrored
    return [
        Spec("deep-sea-treasure-v0", _TREASURE, 0.99, (0.0, -19.0), fronts.deep_sea_treasure, "PD-MORL"),
        Spec("deep-sea-treasure-concave-v0", _TREASURE, 0.99, (0.0, -25.0), concave, _BASELINES),
        Spec("deep-sea-treasure-mirrored-v0", _TREASURE, 0.99, (0.0, -25.0), mirrored, _BASELINES),
        Spec("fruit-tree-v0", _NUTRIENTS, 0.99, (0.0,) * 6, fronts.fruit_tree, f"PD-MORL, {_BASELINES}"),
        Spec(
            "resource-gathering-v0",
            ("survival", "gold", "gem"),
            0.99,
            (-1.0, -1.0, -2.0),
            fronts.resource_gathering,
            "mo-gymnasium #104",
        ),
        Spec("four-room-v0", ("first_shape", "second_shape", "third_shape"), 0.99, (-1.0,) * 3, None, _BOUND),
        Spec("breakable-bottles-v0", ("time", "bottles", "potential"), 0.99, (-100.0, -1.0, -2.0), None, _BOUND),
        Spec("fishwood-v0", ("fish", "wood"), 0.99, (0.0, 0.0), None, _BOUND),
        Spec("water-reservoir-v0", ("flood", "irrigation"), 0.99, (-250.0, -1100.0), None, "100 steps of antiutopia"),
    ]


def _classic() -> list[Spec]:
    ore = (-1.0, -1.0, -200.0)
    lander = (-101.0, -1001.0, -101.0, -101.0)
    moves = ("time", "reverse", "forward")
    return [
        Spec("minecart-v0", _MINECART, 0.98, ore, None, "mo-gymnasium #78"),
        Spec(
            "minecart-deterministic-v0",
            _MINECART,
            0.98,
            ore,
            source="mo-gymnasium #78",
            best_known_front=fronts.minecart_deterministic,
        ),
        Spec("minecart-rgb-v0", _MINECART, 0.98, ore, None, "mo-gymnasium #78"),
        Spec("mo-mountaincar-v0", moves, 0.99, (-100.0,) * 3, None, _BOUND),
        Spec("mo-mountaincar-3d-v0", ("time", "move", "speed"), 0.99, (-100.0, -100.0, 0.0), None, _BOUND),
        Spec("mo-mountaincar-timemove-v0", ("time", "move"), 0.99, (-100.0, -100.0), None, _BOUND),
        Spec("mo-mountaincar-timespeed-v0", ("time", "speed"), 0.99, (-100.0, 0.0), None, _BOUND),
        Spec("mo-mountaincarcontinuous-v0", ("time", "fuel"), 0.99, (-100.0, -100.0), None, _BOUND),
        Spec("mo-lunar-lander-v3", _LANDER, 0.99, lander, None, _BASELINES, _BOX2D),
        Spec("mo-lunar-lander-continuous-v3", _LANDER, 0.99, lander, None, _BASELINES, _BOX2D),
        Spec("mo-highway-v0", _HIGHWAY_OBJECTIVES, 0.99, (0.0, 0.0, -1.0), None, _BOUND, _HIGHWAY),
        Spec("mo-highway-fast-v0", _HIGHWAY_OBJECTIVES, 0.99, (0.0, 0.0, -1.0), None, _BOUND, _HIGHWAY),
    ]


def _mujoco() -> list[Spec]:
    objectives = {
        "mo-hopper-v4": _HOPPER,
        "mo-hopper-v5": _HOPPER,
        "mo-hopper-2d-v4": _HOPPER[:2],
        "mo-hopper-2obj-v5": _HOPPER[:2],
        "mo-halfcheetah-v4": _SPEED_ENERGY,
        "mo-halfcheetah-v5": _SPEED_ENERGY,
        "mo-walker2d-v4": _SPEED_ENERGY,
        "mo-walker2d-v5": _SPEED_ENERGY,
        "mo-ant-v4": _ANT,
        "mo-ant-v5": _ANT,
        "mo-ant-2d-v4": _ANT[:2],
        "mo-ant-2obj-v5": _ANT[:2],
        "mo-swimmer-v4": _SPEED_ENERGY,
        "mo-swimmer-v5": _SPEED_ENERGY,
        "mo-humanoid-v4": _SPEED_ENERGY,
        "mo-humanoid-v5": _SPEED_ENERGY,
    }
    rows = [Spec(name, names, 0.99, (-100.0,) * len(names), None, _MUJOCO) for name, names in objectives.items()]
    reacher = [Spec(name, _REACHER, 0.99, (-50.0,) * 4, None, _BOUND) for name in ("mo-reacher-v4", "mo-reacher-v5")]
    return rows + reacher


ROWS: dict[str, Spec] = {row.id: row for row in (*_tabular(), *_classic(), *_mujoco())}
