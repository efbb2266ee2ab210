"""Pictures of the task families: functions of a kernel of one environment and its last action."""

import numpy as np

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.drawing import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    SERIES,
    WHITE,
    Drawing,
    Pixels,
    blend,
)
from morl.envs.core.types import Action
from morl.envs.families import building as office
from morl.envs.families.building_model import FLOOR_ROOMS, ZONES
from morl.envs.families.mec_offloading import CLOCK, EDGES, RATE, TASK, WAITING
from morl.envs.families.processor_sharing import COMING, RUNNING

MOST_QUEUES_NAMED = 16
WARM_SHARE = 5.0  # deg C from the target at which a zone has its full color


def building(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the floors of the office: zones colored by temperature, what their units do, weather and tariffs.

    Args:
        kernel: a `BuildingKernel` with one environment.
        action: [zone] heating (positive) and cooling of the last hour; None before the first.
    """
    temperature = kernel.arrays["temperature"][0]
    clocks = kernel.arrays["clocks"][0]
    assert isinstance(kernel, office.BuildingKernel)
    weather = kernel.building.year[int(clocks[office.HOUR])]
    sheet = Drawing(640, 400)
    power = np.zeros(len(ZONES)) if action is None else np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
    for floor, name in enumerate(("bottom", "middle", "top")):
        top = 278.0 - 92.0 * floor
        sheet.text((16, top + 42), name, FAINT)
        for place, room in enumerate(FLOOR_ROOMS):
            _zone(
                sheet,
                (80.0 + 78.0 * place, top),
                room,
                temperature[2 + 7 * floor + place],
                power[2 + 7 * floor + place],
            )
    for zone in range(2):
        sheet.text((80 + 300 * zone, 386), f"{ZONES[zone]} {temperature[zone]:.1f} \N{DEGREE SIGN}C", FAINT, 12)
    hour = int(clocks[office.HOUR])
    facts = (
        f"day {hour // 24 + 1}, {hour % 24:02d}:00",
        f"outside {weather[office.OUTDOOR]:.0f} \N{DEGREE SIGN}C",
        f"sun {100 * weather[office.IRRADIANCE]:.0f} %",
        f"price {clocks[office.NOISY_PRICE]:.2f}",
        f"carbon {clocks[office.NOISY_CARBON]:.2f}",
        f"power {np.abs(power).sum():.1f} of {len(ZONES)}",
    )
    for place, fact in enumerate(facts):
        sheet.text((16 + 102 * place, 22), fact, INK, 13)
    sheet.text(
        (16, 56), "bars: heating (orange) and cooling (blue) of each zone's unit; target 20 \N{DEGREE SIGN}C", FAINT, 12
    )
    return sheet.pixels()


def _zone(sheet: Drawing, corner: tuple[float, float], room: str, temperature: float, power: float) -> None:
    """Draw a zone: its color the temperature, a bar in its middle what its unit does."""
    left, top = corner
    difference = (temperature - office.TARGET) / WARM_SHARE
    color = blend(WHITE, (245, 160, 110) if difference > 0 else (130, 185, 235), abs(difference))
    sheet.rectangle(corner, (left + 72, top + 84), color, FAINT)
    sheet.text((left + 36, top + 14), room, INK, 11, "middle")
    sheet.text((left + 36, top + 34), f"{temperature:.1f}", INK, 15, "middle")
    sheet.rectangle((left + 36, top + 54), (left + 36 + 32 * power, top + 68), ORANGE if power > 0 else BLUE)
    sheet.line([(left + 36, top + 50), (left + 36, top + 72)], INK, 1)


def mec_offloading(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the cloud and the edge servers as rows: clock, link, the tasks that run and those on their way.

    Args:
        kernel: a `MecOffloadingKernel` with one environment.
        action: the server that got the last task; None before the first.
    """
    status = kernel.arrays["status"][0]
    links = kernel.arrays["links"][0]
    servers = kernel.arrays["servers"][0]
    rows = int(status[EDGES]) + 1
    height = min(44.0, 320.0 / rows)
    sheet = Drawing(640, 400)
    task = f"{status[TASK]:.1f} Mbit" if status[TASK] > 0 else "none"
    sheet.text((16, 22), f"task to place: {task}", INK)
    sheet.text((220, 22), f"waiting: {int(status[WAITING])}", INK)
    sheet.text(
        (16, 48), "each square is a task: dark ones run, light ones are being uploaded; orange: chosen last", FAINT, 12
    )
    for server in range(rows):
        top = 66.0 + height * server
        middle = top + height / 2
        chosen = action is not None and int(action) == server
        sheet.rectangle((12, top + 2), (628, top + height - 3), (255, 240, 228) if chosen else (247, 247, 247))
        name = "cloud" if server == 0 else f"edge {server}"
        sheet.text((20, middle), name, ORANGE if chosen else INK, 14)
        sheet.text((86, middle), f"{links[server, CLOCK]:.1f} GHz, {links[server, RATE]:.0f} Mbit/s", FAINT, 12)
        running = int(servers[server, RUNNING])
        for place in range(min(running + int(servers[server, COMING]), 26)):
            left = 240 + 14.5 * place
            color = BLUE if place < running else (160, 205, 232)
            sheet.rectangle((left, middle - 6), (left + 11, middle + 6), color)
    return sheet.pixels()


def server_queues(kernel: KernelVectorEnv, action: Action | None) -> Pixels:
    """Return the queues as bars, the one that was served last in orange.

    Args:
        kernel: a `ServerQueuesKernel` with one environment.
        action: the queue that was served last; None before the first step.
    """
    lengths = kernel.arrays["lengths"][0]
    sheet = Drawing(640, 400)
    sheet.text((16, 22), f"{int(lengths.sum())} customers wait; orange: served last", FAINT)
    scale = max(20.0, float(lengths.max()))
    width = 608.0 / len(lengths)
    for queue, length in enumerate(lengths.tolist()):
        left = 16 + width * queue
        chosen = action is not None and int(action) == queue
        color = ORANGE if chosen else SERIES[0]
        sheet.rectangle((left + 0.15 * width, 360), (left + 0.85 * width, 360 - 290 * length / scale), color)
        if len(lengths) <= MOST_QUEUES_NAMED:
            middle = left + width / 2
            sheet.text((middle, 376), f"{queue}", INK, 13, "middle")
            sheet.text((middle, 348 - 290 * length / scale), f"{length}", INK, 13, "middle")
    sheet.line([(16, 360), (624, 360)], FAINT, 1)
    return sheet.pixels()
