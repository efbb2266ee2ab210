"""Pictures of the lab's tasks: functions of a kernel of one environment and its last action."""

import math

import numpy as np

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.drawing import BLUE, FAINT, GREEN, INK, LIGHT, ORANGE, SERIES, YELLOW, Drawing, Pixels
from morl.envs.core.types import Action
from morl.envs.families.lab import concave_arc, dam, docking, knapsack, linear_quadratic, scheduling, stochastic_grid

WIDTH = 480
HEIGHT = 320
STEPS_OF_EFFORT = 60.0  # pixels of a full force


def draw_knapsack(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the parcels, those in the van filled, the last one in orange, and the room that is left."""
    assert isinstance(kernel, knapsack.KnapsackKernel)
    sheet = Drawing(WIDTH, HEIGHT)
    loaded = kernel.arrays["loaded"][0]
    weights = kernel.parcels.weights
    for parcel, weight in enumerate(weights.tolist()):
        left = 20.0 + 112.0 * (parcel % 4)
        bottom = 90.0 + 76.0 * (parcel // 4)
        side = 9.0 * math.sqrt(weight)
        last = action is not None and int(action) == parcel
        color = (ORANGE if last else BLUE) if loaded[parcel] else LIGHT
        sheet.rectangle((left, bottom - side), (left + side, bottom), color, FAINT)
        sheet.text((left + side + 8, bottom - 10), f"{weight} kg", INK if loaded[parcel] else FAINT, 13)
    used = 1.0 - int(kernel.arrays["room"][0]) / knapsack.CAPACITY
    sheet.rectangle((20, 268), (460, 288), LIGHT)
    sheet.rectangle((20, 268), (20 + 440 * used, 288), GREEN)
    sheet.text((20, 304), f"{used * knapsack.CAPACITY:.0f} of {knapsack.CAPACITY} kg", FAINT, 13)
    return sheet.pixels()


def draw_scheduling(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the jobs colored by alloy, those that are done filled, and the price of electricity with the hour."""
    assert isinstance(kernel, scheduling.SchedulingKernel)
    sheet = Drawing(WIDTH, HEIGHT)
    jobs = kernel.jobs
    done = kernel.arrays["done"][0]
    left = 20.0
    unit = 440.0 / float(jobs.hours.sum())
    for job in range(len(jobs.hours)):
        color = SERIES[int(jobs.alloys[job])]
        right = left + unit * int(jobs.hours[job])
        last = action is not None and int(action) == job
        sheet.rectangle((left + 1, 40), (right - 1, 84), color if done[job] else LIGHT, INK if last else color)
        sheet.text(((left + right) / 2, 98), f"{job}", INK if done[job] else FAINT, 13, "middle")
        left = right
    sheet.text((20, 22), "jobs: width the hours, color the alloy, filled when done", FAINT, 12)
    hours = len(scheduling.PRICES)
    now = int(kernel.arrays["clock"][0, 0])
    for hour, price in enumerate(scheduling.PRICES.tolist()):
        left = 20 + 440.0 * hour / hours
        top = 290 - 150 * price / scheduling.PRICES.max()
        sheet.rectangle((left + 1, top), (left + 440.0 / hours - 1, 290), ORANGE if hour < now else LIGHT)
    sheet.text((20, 306), f"price of electricity; hour {now} of {hours}", FAINT, 12)
    return sheet.pixels()


def draw_stochastic_grid(kernel: KernelVectorEnv, action: Action | None) -> Pixels:  # noqa: ARG001 - one signature
    """Return the map with rubble, exits and the rover."""
    side = 52.0
    sheet = Drawing(round(side * stochastic_grid.SIDE) + 8, round(side * stochastic_grid.SIDE) + 8)
    for row, line in enumerate(stochastic_grid.MAP):
        for column, cell in enumerate(line):
            corner = (4 + side * column, 4 + side * row)
            middle = (corner[0] + side / 2, corner[1] + side / 2)
            color = (170, 150, 135) if cell == "#" else (255, 236, 190) if cell.isdigit() else (246, 246, 246)
            sheet.rectangle(corner, (corner[0] + side, corner[1] + side), color, LIGHT)
            if cell.isdigit():
                sheet.text(middle, cell, INK, 22, "middle")
    row, column = kernel.arrays["cells"][0].tolist()
    sheet.circle((4 + side * (column + 0.5), 4 + side * (row + 0.5)), 0.3 * side, BLUE, INK)
    return sheet.pixels()


def draw_linear_quadratic(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the cart on its rail, or the puck between its targets, and the force of the last step."""
    assert isinstance(kernel, linear_quadratic.LinearQuadratic2Kernel | linear_quadratic.LinearQuadratic4Kernel)
    state = kernel.arrays["state"][0]
    forces = np.zeros(2) if action is None else np.clip(np.resize(np.asarray(action, dtype=np.float64), 2), -1.0, 1.0)
    sheet = Drawing(WIDTH, HEIGHT)
    if isinstance(kernel, linear_quadratic.LinearQuadratic2Kernel):
        place = (WIDTH / 2 + 180 * float(state[0]), 180.0)
        sheet.line([(20, 206), (460, 206)], FAINT, 2)
        sheet.line([(WIDTH / 2, 196), (WIDTH / 2, 216)], GREEN, 3)
        sheet.rectangle((place[0] - 24, 168), (place[0] + 24, 200), BLUE)
        tip = (place[0] + STEPS_OF_EFFORT * float(forces[0]), place[1])
    else:
        place = (WIDTH / 2 + 110 * float(state[0]), HEIGHT / 2 - 110 * float(state[2]))
        for target in range(3):
            angle = 2 * math.pi * target / 3
            center = (WIDTH / 2 + 110 * math.cos(angle), HEIGHT / 2 - 110 * math.sin(angle))
            sheet.circle(center, 16, LIGHT, SERIES[target])
            sheet.text(center, f"{target + 1}", INK, 15, "middle")
        sheet.circle(place, 12, BLUE)
        tip = (place[0] + STEPS_OF_EFFORT * float(forces[0]), place[1] - STEPS_OF_EFFORT * float(forces[1]))
    sheet.line([place, tip], ORANGE, 5)
    sheet.text((20, 20), f"step {int(state[-1])} of {linear_quadratic.STEPS}; orange: the force", FAINT, 12)
    return sheet.pixels()


def draw_docking(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the station on the right, the craft at its distance, and the flame of its thruster."""
    distance, speed = kernel.arrays["place"][0].tolist()
    sheet = Drawing(WIDTH, 220, (18, 24, 38))
    unit = 390.0 / docking.FARTHEST
    left = 420 - unit * min(max(distance, 0), docking.FARTHEST)
    sheet.rectangle((430, 60), (470, 160), FAINT)
    sheet.rectangle((420, 98), (430, 122), YELLOW)
    sheet.polygon(
        [(left, 110), (left - 14, 100), (left - 28, 100), (left - 28, 120), (left - 14, 120)], (225, 230, 240)
    )
    thrust = 0 if action is None else int(action) - 1
    if thrust > 0:
        sheet.polygon([(left - 28, 104), (left - 50, 110), (left - 28, 116)], ORANGE)
    if thrust < 0:
        sheet.polygon([(left - 8, 96), (left + 14, 92), (left - 8, 102)], ORANGE)
    words = f"{docking.LENGTH * distance:.1f} m away, {docking.SPEED * speed:+.2f} m/s towards the station"
    sheet.text((20, 200), words, (225, 230, 240), 13)
    return sheet.pixels()


def draw_concave_arc(kernel: KernelVectorEnv, action: Action | None) -> Pixels:  # noqa: ARG001 - one signature
    """Return the pointer between the two ends of the arc of returns."""
    angle, steps = kernel.arrays["arc"][0].tolist()
    sheet = Drawing(WIDTH, HEIGHT)
    corner = (300.0, 40.0)  # (1, 1) in the plane of returns: the arc bends away from it
    radius = 230.0
    angles = np.linspace(0.0, concave_arc.RIGHT_ANGLE, 60)
    sheet.line([(corner[0] - radius * math.cos(a), corner[1] + radius * math.sin(a)) for a in angles], FAINT, 3)
    tip = (corner[0] - radius * math.cos(angle), corner[1] + radius * math.sin(angle))
    sheet.line([corner, tip], BLUE, 4)
    sheet.circle(tip, 9, ORANGE)
    sheet.text((320, 270), "east", FAINT, 13)
    sheet.text((60, 22), "north", FAINT, 13, "middle")
    sheet.text((320, 200), f"east {1 - math.cos(angle):.2f}", INK, 14)
    sheet.text((320, 222), f"north {1 - math.sin(angle):.2f}", INK, 14)
    sheet.text((320, 300), f"step {int(steps)} of {concave_arc.STEPS}", FAINT, 12)
    return sheet.pixels()


def draw_dam(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the reservoir with bank and crest, and what the last week released."""
    level = float(kernel.arrays["level"][0])
    sheet = Drawing(WIDTH, HEIGHT)

    def height(units: float) -> float:
        return 280 - 14.0 * units

    sheet.rectangle((20, height(level)), (300, 280), (120, 180, 225))
    sheet.rectangle((300, height(dam.CAPACITY) - 4), (326, 280), FAINT)
    sheet.line([(20, height(dam.BANK)), (300, height(dam.BANK))], ORANGE, 2)
    sheet.text((26, height(dam.BANK) - 10), "land is flooded above", ORANGE, 12)
    sheet.line([(12, 281), (468, 281)], INK, 2)
    released = 0.0 if action is None else float(np.clip(np.asarray(action).ravel()[0], 0.0, dam.LARGEST_RELEASE))
    sheet.rectangle((326, 280 - 6 * released), (468, 280), (120, 180, 225))
    sheet.text((397, 220), f"release {released:.1f}", INK, 14, "middle")
    sheet.text((397, 240), f"demand {dam.DEMAND}", FAINT, 12, "middle")
    sheet.text((20, 20), f"level {level:.1f} of {dam.CAPACITY}", INK, 14)
    return sheet.pixels()
