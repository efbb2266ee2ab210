"""Tabular and classic-control environments of mo-gymnasium: everything that is known about each id.

`source` says where discount and reference point come from; "morl" marks our own choice (a bound on the worst discounted
return) where no publication names one.
"""

from morl.envs.classic import fronts
from morl.envs.core.entry import EnvEntry

BASELINES = "morl-baselines examples"
BOUND = "morl: a bound on the worst discounted return"
MINECART_SOURCE = "mo-gymnasium #78"
BOX2D = "box2d==2.3.10"
HIGHWAY = "highway-env"

ORES_AND_FUEL = ("first_ore", "second_ore", "fuel")
MINECART_WORST = (-1.0, -1.0, -200.0)
LANDER = ("landing", "shaping", "main_engine", "side_engine")
LANDER_WORST = (-101.0, -1001.0, -101.0, -101.0)
DRIVING = ("speed", "right_lane", "collision")

DEEP_SEA_TREASURE = "morl.envs.classic.deep_sea_treasure:DeepSeaTreasureKernel"
MINECART = "morl.envs.classic.minecart:MinecartKernel"
MOUNTAIN_CAR = "morl.envs.classic.mountain_car:MountainCarKernel"

PATCHES = "morl.envs.classic.mo_gymnasium_patches"
SEEDED_ORE = f"{PATCHES}:SeededOre"
COPIED_OBSERVATION = f"{PATCHES}:CopiedObservation"
REDRAWN = f"{PATCHES}:redrawn_after_quit"

TREASURES = [
    EnvEntry(
        id="deep-sea-treasure-v0",
        objectives=("treasure", "time"),
        discount=0.99,
        reference_point=(0.0, -19.0),
        source="PD-MORL",
        known_front=fronts.deep_sea_treasure,
        vector_entry_point=DEEP_SEA_TREASURE,
        spaces=("Box (2,) int32", "Discrete 4"),
        max_episode_steps=100,
        repairs=(REDRAWN,),
    ),
    EnvEntry(
        id="deep-sea-treasure-concave-v0",
        objectives=("treasure", "time"),
        discount=0.99,
        reference_point=(0.0, -25.0),
        source=BASELINES,
        known_front=fronts.deep_sea_treasure_concave,
        vector_entry_point=DEEP_SEA_TREASURE,
        spaces=("Box (2,) int32", "Discrete 4"),
        max_episode_steps=100,
        repairs=(REDRAWN,),
    ),
    EnvEntry(
        id="deep-sea-treasure-mirrored-v0",
        objectives=("treasure", "time"),
        discount=0.99,
        reference_point=(0.0, -25.0),
        source=BASELINES,
        known_front=fronts.deep_sea_treasure_mirrored,
        vector_entry_point=DEEP_SEA_TREASURE,
        spaces=("Box (2,) int32", "Discrete 4"),
        max_episode_steps=100,
        repairs=(REDRAWN,),
    ),
    EnvEntry(
        id="images/deep-sea-treasure-v0",
        objectives=("treasure", "time"),
        discount=0.99,
        reference_point=(0.0, -19.0),
        source="as deep-sea-treasure-v0",
        known_front=fronts.deep_sea_treasure,
        entry_point="morl.envs.classic.deep_sea_treasure_images:deep_sea_treasure_image",
        vector_entry_point="morl.envs.classic.deep_sea_treasure_images:DeepSeaTreasureImageKernel",
        spaces=("Box (11, 11, 3) uint8", "Discrete 4"),
        max_episode_steps=100,
    ),
]

TABULAR = [
    EnvEntry(
        id="fruit-tree-v0",
        objectives=("protein", "carbohydrates", "fats", "vitamins", "minerals", "water"),
        discount=0.99,
        reference_point=(0.0,) * 6,
        source=f"PD-MORL, {BASELINES}",
        known_front=fronts.fruit_tree,
        vector_entry_point="morl.envs.classic.fruit_tree:FruitTreeKernel",
        spaces=("Box (2,) int32", "Discrete 2"),
    ),
    EnvEntry(
        id="resource-gathering-v0",
        objectives=("survival", "gold", "gem"),
        discount=0.99,
        reference_point=(-1.0, -1.0, -2.0),
        source="mo-gymnasium #104",
        known_front=fronts.resource_gathering,
        vector_entry_point="morl.envs.classic.tabular:ResourceGatheringKernel",
        spaces=("Box (4,) int32", "Discrete 4"),
        max_episode_steps=100,
    ),
    EnvEntry(
        id="four-room-v0",
        objectives=("first_shape", "second_shape", "third_shape"),
        discount=0.99,
        reference_point=(-1.0,) * 3,
        source=BOUND,
        vector_entry_point="morl.envs.classic.tabular:FourRoomKernel",
        spaces=("Box (14,) int32", "Discrete 4"),
        max_episode_steps=200,
    ),
    EnvEntry(
        id="breakable-bottles-v0",
        objectives=("time", "bottles", "potential"),
        discount=0.99,
        reference_point=(-100.0, -1.0, -2.0),
        source=BOUND,
        vector_entry_point="morl.envs.classic.bottles:BreakableBottlesKernel",
        spaces=("Dict", "Discrete 3"),
        max_episode_steps=100,
        repairs=(f"{PATCHES}:BottlesAsDeclared",),
    ),
    EnvEntry(
        id="fishwood-v0",
        objectives=("fish", "wood"),
        discount=0.99,
        reference_point=(0.0, 0.0),
        source=BOUND,
        vector_entry_point="morl.envs.classic.tabular:FishWoodKernel",
        spaces=("Box (1,) int32", "Discrete 2"),
        repairs=(f"{PATCHES}:TruncatedAtLimit", COPIED_OBSERVATION),
    ),
    EnvEntry(
        id="water-reservoir-v0",
        objectives=("flood", "irrigation"),
        discount=0.99,
        reference_point=(-250.0, -1100.0),
        source="100 steps of antiutopia",
        vector_entry_point="morl.envs.classic.water_reservoir:WaterReservoirKernel",
        spaces=("Box (1,) float32", "Box (1,) float32"),
        repairs=(COPIED_OBSERVATION,),
    ),
]

MINECARTS = [
    EnvEntry(
        id="minecart-v0",
        objectives=ORES_AND_FUEL,
        discount=0.98,
        reference_point=MINECART_WORST,
        source=MINECART_SOURCE,
        vector_entry_point=MINECART,
        spaces=("Box (7,) float32", "Discrete 6"),
        max_episode_steps=1000,
        repairs=(SEEDED_ORE,),
    ),
    EnvEntry(
        id="minecart-deterministic-v0",
        objectives=ORES_AND_FUEL,
        discount=0.98,
        reference_point=MINECART_WORST,
        source=MINECART_SOURCE,
        best_known_front=fronts.minecart_deterministic,
        vector_entry_point=MINECART,
        spaces=("Box (7,) float32", "Discrete 6"),
        max_episode_steps=1000,
        repairs=(SEEDED_ORE,),
    ),
    EnvEntry(
        id="minecart-rgb-v0",
        objectives=ORES_AND_FUEL,
        discount=0.98,
        reference_point=MINECART_WORST,
        source=MINECART_SOURCE,
        spaces=("Box (480, 480, 3) uint8", "Discrete 6"),
        max_episode_steps=1000,
        repairs=(SEEDED_ORE, f"{PATCHES}:FixedPictures", COPIED_OBSERVATION),
    ),
]

MOUNTAIN_CARS = [
    EnvEntry(
        id="mo-mountaincar-v0",
        objectives=("time", "reverse", "forward"),
        discount=0.99,
        reference_point=(-100.0,) * 3,
        source=BOUND,
        vector_entry_point=MOUNTAIN_CAR,
        spaces=("Box (2,) float32", "Discrete 3"),
        max_episode_steps=200,
    ),
    EnvEntry(
        id="mo-mountaincar-3d-v0",
        objectives=("time", "move", "speed"),
        discount=0.99,
        reference_point=(-100.0, -100.0, 0.0),
        source=BOUND,
        vector_entry_point=MOUNTAIN_CAR,
        spaces=("Box (2,) float32", "Discrete 3"),
        max_episode_steps=200,
    ),
    EnvEntry(
        id="mo-mountaincar-timemove-v0",
        objectives=("time", "move"),
        discount=0.99,
        reference_point=(-100.0, -100.0),
        source=BOUND,
        vector_entry_point=MOUNTAIN_CAR,
        spaces=("Box (2,) float32", "Discrete 3"),
        max_episode_steps=200,
    ),
    EnvEntry(
        id="mo-mountaincar-timespeed-v0",
        objectives=("time", "speed"),
        discount=0.99,
        reference_point=(-100.0, 0.0),
        source=BOUND,
        vector_entry_point=MOUNTAIN_CAR,
        spaces=("Box (2,) float32", "Discrete 3"),
        max_episode_steps=200,
    ),
    EnvEntry(
        id="mo-mountaincarcontinuous-v0",
        objectives=("time", "fuel"),
        discount=0.99,
        reference_point=(-100.0, -100.0),
        source=BOUND,
        vector_entry_point="morl.envs.classic.mountain_car:ContinuousMountainCarKernel",
        spaces=("Box (2,) float32", "Box (1,) float32"),
        max_episode_steps=999,
        repairs=(COPIED_OBSERVATION,),
    ),
]

WITH_EXTRA_PACKAGES = [
    EnvEntry(
        id="mo-lunar-lander-v3",
        objectives=LANDER,
        discount=0.99,
        reference_point=LANDER_WORST,
        source=BASELINES,
        spaces=("Box (8,) float32", "Discrete 4"),
        max_episode_steps=1000,
        requires=BOX2D,
    ),
    EnvEntry(
        id="mo-lunar-lander-continuous-v3",
        objectives=LANDER,
        discount=0.99,
        reference_point=LANDER_WORST,
        source=BASELINES,
        spaces=("Box (8,) float32", "Box (2,) float32"),
        max_episode_steps=1000,
        requires=BOX2D,
    ),
    EnvEntry(
        id="mo-highway-v0",
        objectives=DRIVING,
        discount=0.99,
        reference_point=(0.0, 0.0, -1.0),
        source=BOUND,
        spaces=("Box (5, 5) float32", "Discrete 5"),
        requires=HIGHWAY,
    ),
    EnvEntry(
        id="mo-highway-fast-v0",
        objectives=DRIVING,
        discount=0.99,
        reference_point=(0.0, 0.0, -1.0),
        source=BOUND,
        spaces=("Box (5, 5) float32", "Discrete 5"),
        requires=HIGHWAY,
    ),
]

ENTRIES = (*TREASURES, *TABULAR, *MINECARTS, *MOUNTAIN_CARS, *WITH_EXTRA_PACKAGES)
