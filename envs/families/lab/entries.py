"""The lab: small tasks whose fronts are known, and everything that is known about each id.

docs/environments/lab.md explains them. Rules are written once: the single form of a task is its kernel with
one environment.
"""

from morl.envs.backends.single import single_form
from morl.envs.core.entry import EnvEntry
from morl.envs.families.lab import (
    concave_arc,
    dam,
    docking,
    knapsack,
    linear_quadratic,
    scheduling,
    stochastic_grid,
)

SOURCE = "morl: a little worse than the worst of the front"
LAB = "morl.envs.families.lab"
SINGLE = f"{LAB}.entries"

knapsack_single = single_form(knapsack.KnapsackKernel)
scheduling_single = single_form(scheduling.SchedulingKernel)
stochastic_grid_single = single_form(stochastic_grid.StochasticGridKernel)
linear_quadratic_2_single = single_form(linear_quadratic.LinearQuadratic2Kernel)
linear_quadratic_4_single = single_form(linear_quadratic.LinearQuadratic4Kernel)
docking_single = single_form(docking.DockingKernel)
concave_arc_single = single_form(concave_arc.ConcaveArcKernel)
concave_arc_discrete_single = single_form(concave_arc.ConcaveArcDiscreteKernel)
dam_single = single_form(dam.DamKernel)

ENTRIES = (
    EnvEntry(
        id="lab/knapsack-v0",
        objectives=("revenue", "goodwill", "recycled"),
        discount=1.0,
        reference_point=(900.0, 4.0, 0.015),
        source=SOURCE,
        known_front=knapsack.front,
        entry_point=f"{SINGLE}:knapsack_single",
        vector_entry_point=f"{LAB}.knapsack:KnapsackKernel",
        spaces=("Box (13,) float32", "Discrete 12"),
    ),
    EnvEntry(
        id="lab/scheduling-v0",
        objectives=("scrap", "waiting", "electricity"),
        discount=1.0,
        reference_point=(-0.03, -11.25, -104_000.0),
        source=SOURCE,
        known_front=scheduling.front,
        entry_point=f"{SINGLE}:scheduling_single",
        vector_entry_point=f"{LAB}.scheduling:SchedulingKernel",
        spaces=("Box (12,) float32", "Discrete 8"),
    ),
    EnvEntry(
        id="lab/stochastic-grid-v0",
        objectives=("treasure", "damage"),
        discount=0.95,
        reference_point=(0.0, -2.0),
        source=SOURCE,
        known_front=stochastic_grid.front,
        known_front_is_convex=True,
        entry_point=f"{SINGLE}:stochastic_grid_single",
        vector_entry_point=f"{LAB}.stochastic_grid:StochasticGridKernel",
        spaces=("Box (2,) float32", "Discrete 4"),
        max_episode_steps=stochastic_grid.HORIZON,
    ),
    EnvEntry(
        id="lab/linear-quadratic-2-v0",
        objectives=("accuracy", "effort"),
        discount=1.0,
        reference_point=(-3.0, -0.5),
        source="morl: inside the front, whose ends are of no use",
        known_front=linear_quadratic.front_2,
        known_front_is_convex=True,
        entry_point=f"{SINGLE}:linear_quadratic_2_single",
        vector_entry_point=f"{LAB}.linear_quadratic:LinearQuadratic2Kernel",
        spaces=("Box (3,) float32", "Box (1,) float32"),
    ),
    EnvEntry(
        id="lab/linear-quadratic-4-v0",
        objectives=("first_target", "second_target", "third_target", "effort"),
        discount=1.0,
        reference_point=(-60.0, -60.0, -60.0, -3.0),
        source=SOURCE,
        known_front=linear_quadratic.front_4,
        known_front_is_convex=True,
        entry_point=f"{SINGLE}:linear_quadratic_4_single",
        vector_entry_point=f"{LAB}.linear_quadratic:LinearQuadratic4Kernel",
        spaces=("Box (5,) float32", "Box (2,) float32"),
    ),
    EnvEntry(
        id="lab/docking-v0",
        objectives=("time", "fuel", "contact"),
        discount=0.98,
        reference_point=(-65.0, -4.0, -500.0),
        source=SOURCE,
        known_front=docking.front,
        known_front_is_convex=True,
        entry_point=f"{SINGLE}:docking_single",
        vector_entry_point=f"{LAB}.docking:DockingKernel",
        spaces=("Box (2,) float32", "Discrete 3"),
        max_episode_steps=docking.HORIZON,
    ),
    EnvEntry(
        id="lab/concave-arc-v0",
        objectives=("east", "north"),
        discount=1.0,
        reference_point=(-0.05, -0.05),
        source=SOURCE,
        known_front=concave_arc.front,
        entry_point=f"{SINGLE}:concave_arc_single",
        vector_entry_point=f"{LAB}.concave_arc:ConcaveArcKernel",
        spaces=("Box (2,) float32", "Box (1,) float32"),
    ),
    EnvEntry(
        id="lab/concave-arc-discrete-v0",
        objectives=("east", "north"),
        discount=1.0,
        reference_point=(-0.05, -0.05),
        source=SOURCE,
        known_front=concave_arc.front_discrete,
        entry_point=f"{SINGLE}:concave_arc_discrete_single",
        vector_entry_point=f"{LAB}.concave_arc:ConcaveArcDiscreteKernel",
        spaces=("Box (2,) float32", "Discrete 3"),
    ),
    EnvEntry(
        id="lab/dam-v0",
        objectives=("flooded", "harvest"),
        discount=0.9,
        reference_point=(-200.0, -2.0),
        source=SOURCE,
        known_front=dam.front,
        known_front_is_convex=True,
        entry_point=f"{SINGLE}:dam_single",
        vector_entry_point=f"{LAB}.dam:DamKernel",
        spaces=("Box (1,) float32", "Box (1,) float32"),
        max_episode_steps=dam.HORIZON,
    ),
)
