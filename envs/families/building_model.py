"""The office building: 23 zones as a network of resistances and capacities, and its exact step of one hour.

Shape and sizes are those of the ASHRAE 90.1 large-office prototype (US Department of Energy): a basement and a bottom,
a middle and a top floor of 73.1 m x 48.7 m, each floor with a core, four perimeter zones 4.57 m deep and a plenum.
Heat coefficients are BEAR's for this prototype (the model behind SustainGym and C-MORL). The sizes of the data centers
are ours, and walls follow the plan instead of BEAR's bounding boxes; a `building.npz` replaces all of it
(`morl.envs.families.building_year`).
"""

from typing import NamedTuple

import numpy as np

from morl.envs.core.types import Array

LENGTH = 73.1  # m
WIDTH = 48.7  # m
DEPTH = 4.57  # m, of the perimeter zones
HEIGHT = 2.74  # m
PLENUM_HEIGHT = 1.22  # m
BASEMENT_HEIGHT = 2.44  # m
WINDOWS = 0.4  # share of the outer walls, plenum included
DATA_CENTER = 10.0  # m, side of a square room; ours
BASEMENT_DATA_CENTER = 25.0  # m, likewise
WALL = 6.299  # W/m2/K, as the six that follow
FLOOR = 3.839
OUTER_WALL = 0.984
ROOF = 0.228
CEILING = 4.488
GROUND_FLOOR = 3.839
WINDOW = 2.615
GROUND_SHARE = 0.5  # of the ground floor's conductance that counts
AIR = 1.225 * 1000.0  # J/m3/K: only air stores heat
POWER = 8000.0  # W of each zone's unit at full action
SOLAR = 0.252 * 0.01 * 60 / 8  # heat gain coefficient of windows, loss, and the authors' factor 60 / |time zone|
HOUR = 3600.0  # s

FLOOR_ROOMS = ("core", "south", "east", "north", "west", "data center", "plenum")
ZONES = ("basement", "basement data center", *(f"{floor} {room}" for floor in range(3) for room in FLOOR_ROOMS))
FIRST = (0, 9, 16, 23)
"""The first zone of each floor in C-MORL's count, and the end: the basement belongs to the bottom floor."""


class Building(NamedTuple):
    """Heat flow C dT/dt = network T + inputs u, and C: [zone, zone], [zone, input], [zone].

    Inputs: heat of people, ground temperature, outdoor temperature, one action per zone, irradiance in W/m2.
    """

    network: Array
    inputs: Array
    capacity: Array


class Step(NamedTuple):
    """One hour: T' = a T + b u, [zone, zone] and [zone, input]."""

    a: Array
    b: Array


def office() -> Building:
    """Return the 23-zone office. Nobody is in it (C-MORL runs it with zero people), so the first input is idle."""
    zones = len(ZONES)
    conductance = np.zeros((zones, zones))
    inputs = np.zeros((zones, 4 + zones))
    volume = np.zeros(zones)
    sides = np.array([LENGTH, WIDTH, LENGTH, WIDTH])
    core = (LENGTH - 2 * DEPTH) * (WIDTH - 2 * DEPTH) - DATA_CENTER**2
    areas = np.array([core, *((sides - DEPTH) * DEPTH), DATA_CENTER**2])  # trapezoids around the core
    cellar = np.array([LENGTH * WIDTH - BASEMENT_DATA_CENTER**2, BASEMENT_DATA_CENTER**2])

    def join(one: int, other: int, value: float) -> None:
        conductance[one, other] += value
        conductance[other, one] += value

    volume[:2] = cellar * BASEMENT_HEIGHT
    join(0, 1, WALL * 4 * BASEMENT_DATA_CENTER * BASEMENT_HEIGHT)
    inputs[:2, 1] = cellar * GROUND_FLOOR * GROUND_SHARE
    slab = FLOOR * CEILING / (FLOOR + CEILING)
    for room, area in enumerate(areas):  # the basement's data center lies below the core
        join(0, 2 + room, slab * (area - (cellar[1] if room == 0 else 0.0)))
    join(1, 2, slab * cellar[1])
    for floor in range(3):
        first = 2 + 7 * floor
        plenum = 8 + 7 * floor
        volume[first : first + 6] = areas * HEIGHT
        volume[plenum] = LENGTH * WIDTH * PLENUM_HEIGHT
        for side in range(4):
            join(first, first + 1 + side, WALL * (sides[side] - 2 * DEPTH) * HEIGHT)
            join(first + 1 + side, first + 1 + (side + 1) % 4, WALL * DEPTH * np.sqrt(2) * HEIGHT)
            window = WINDOWS * sides[side] * (HEIGHT + PLENUM_HEIGHT)
            inputs[first + 1 + side, 2] = OUTER_WALL * (sides[side] * HEIGHT - window) + WINDOW * window
            inputs[first + 1 + side, -1] = SOLAR * window
            inputs[plenum, 2] += OUTER_WALL * sides[side] * PLENUM_HEIGHT
        join(first, first + 5, WALL * 4 * DATA_CENTER * HEIGHT)
        for room, area in enumerate(areas):
            join(first + room, plenum, CEILING * area)
            if floor < 2:
                join(plenum, first + 7 + room, FLOOR * area)
    inputs[22, 2] += ROOF * LENGTH * WIDTH
    inputs[:, 3:-1] = POWER * np.eye(zones)
    network = conductance - np.diag(conductance.sum(axis=1) + inputs[:, 1] + inputs[:, 2])
    return Building(network, inputs, AIR * volume)


def hourly(building: Building) -> Step:
    """Return the exact solution over one hour of constant inputs.

    With A = C^-1 network and B = C^-1 inputs: a = exp(A t), b = A^-1 (a - I) B. The network is symmetric, so A is
    similar to a symmetric matrix and its eigenvectors give the exponential.
    """
    root = np.sqrt(building.capacity)
    rates, vectors = np.linalg.eigh(building.network / np.outer(root, root))
    a = (vectors * np.exp(rates * HOUR)) @ vectors.T * np.outer(1 / root, root)
    b = np.linalg.solve(building.network, (a.T * building.capacity).T @ (building.inputs / building.capacity[:, None]))
    return Step(a, b - np.linalg.solve(building.network, building.inputs))
