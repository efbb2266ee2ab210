"""A year of weather and tariffs, hour by hour: a synthetic one, and the reader of real files.

C-MORL's own tables (San Diego Brown Field TMY3, carbon and price of "ElPaso") cannot be shipped. The synthetic year has
the same columns and San Diego's latitude; it is plain arithmetic without chance. A folder of real files holds

    weather.epw           EnergyPlus weather: 8 header lines, then a row an hour; fields 7 (dry bulb, deg C) and
                          14 (global horizontal irradiance, Wh/m2) are read
    carbon_intensity.csv  a header line, then one number an hour in the first column, between 0 and 1
    pricing.csv           a header with a column `price`, a row an hour, between 0 and 1
    building.npz          optional: `a` [23, 23] and `b` [23, 27] of another building, one hour (`building_model.Step`;
                          the last input is irradiance as a share of the year's highest)
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from morl.envs.core.types import Array
from morl.envs.families.building_model import ZONES, Step, hourly, office
from morl.output_files import checked_path

HOURS = 8760
NEEDED = 200 + 480  # hours that episodes can reach
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
GROUND = (18.3, 11.2, 6.8, 8.1, 10.3, 12.5, 19.2, 23.8, 27.9, 27.5, 26.3, 23.4)
"""Ground temperature of each month in deg C: BEAR's table for El Paso, which C-MORL uses."""
LATITUDE = math.radians(32.6)


class Year(NamedTuple):
    """Columns of one number an hour: deg C, W/m2, deg C, and carbon intensity and price as the tables have them."""

    outdoor: Array
    irradiance: Array
    ground: Array
    carbon: Array
    price: Array


def ground_temperature() -> Array:
    """Return the ground temperature of each hour of the year in deg C."""
    return np.repeat(GROUND, [24 * days for days in MONTHS])


def synthetic_year() -> Year:
    """Return a made-up year of a mild coast: sun by geometry, weather and tariffs as sums of sines."""
    hour = np.arange(HOURS) % 24
    day = np.arange(HOURS) / 24
    front = 0.6 * np.sin(2 * np.pi * day / 5.3) + 0.4 * np.sin(2 * np.pi * day / 11.7 + 1.0)  # between -1 and 1
    season = np.cos(2 * np.pi * (day - 210) / 365)  # 1 at the end of July
    outdoor = 17.0 + 4.0 * season + 5.0 * np.cos(2 * np.pi * (hour - 14) / 24) + 3.0 * front
    declination = np.radians(23.44) * np.cos(2 * np.pi * (day - 172) / 365)
    upright = np.cos(LATITUDE) * np.cos(declination) * np.cos(2 * np.pi * (hour - 12) / 24)
    elevation = np.maximum(upright + np.sin(LATITUDE) * np.sin(declination), 0.0)  # its sine
    irradiance = 1000.0 * elevation * (0.75 + 0.25 * front)
    evening = np.exp(-(((hour - 19) / 2.5) ** 2))
    carbon = 0.45 - 0.2 * irradiance / 1000.0 + 0.1 * evening
    price = 0.12 + 0.18 * evening + 0.03 * (hour >= 7) + 0.02 * season
    return Year(outdoor, irradiance, ground_temperature(), carbon, price)


def load(folder: str | None) -> tuple[Year, Step]:
    """Return the year in `folder` and the building's step of one hour; None: the synthetic year and our office.

    The last input of the returned step is irradiance as a share of the year's highest.

    Raises:
        ValueError: a file is missing or not in the format that the module describes.
    """
    place = None if folder is None else checked_path("folder", folder)
    if place is None:
        year = synthetic_year()
    else:
        outdoor = _column(place / "weather.epw", 8, 6)
        irradiance = _column(place / "weather.epw", 8, 13)
        ground = ground_temperature()
        carbon = _column(place / "carbon_intensity.csv", 1, 0)
        price = _column(place / "pricing.csv", 1, "price")
        length = min(map(len, (outdoor, irradiance, ground, carbon, price)))
        year = Year(
            outdoor=outdoor[:length],
            irradiance=irradiance[:length],
            ground=ground[:length],
            carbon=carbon[:length],
            price=price[:length],
        )
    peak = float(year.irradiance.max())
    if peak <= 0 or year.price.max() <= 0:
        raise ValueError(
            f"the year in {place} must hold sunshine and prices above zero, got {peak} and {year.price.max()}"
        )
    if place is not None and (place / "building.npz").exists():
        return year, _building(place / "building.npz")
    step = hourly(office())
    step.b[:, -1] *= peak
    return year, step


def _column(path: Path, header: int, column: int | str) -> Array:
    """Return one column of a file of comma-separated rows as float64, at least NEEDED rows, all finite."""
    wanted = f"{path} must hold at least {NEEDED} rows of numbers in column {column!r} after {header} header line(s)"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
        values = np.array(_numbers(rows, header, column))
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{wanted}: {error}") from error
    if len(values) < NEEDED or not np.isfinite(values).all():
        raise ValueError(f"{wanted}, got {len(values)} rows, {int((~np.isfinite(values)).sum())} of them not finite")
    return values


def _numbers(rows: Sequence[Sequence[str]], header: int, column: int | str) -> list[float]:
    index = column if isinstance(column, int) else rows[header - 1].index(column)
    return [float(row[index]) for row in rows[header:] if row]


def _building(path: Path) -> Step:
    """Return the step in `path`."""
    zones = len(ZONES)
    wanted = f"{path} must hold finite arrays a [{zones}, {zones}] and b [{zones}, {zones + 4}]"
    try:
        with np.load(path) as file:
            step = Step(np.asarray(file["a"], dtype=np.float64), np.asarray(file["b"], dtype=np.float64))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{wanted}: {error}") from error
    if step.a.shape != (zones, zones) or step.b.shape != (zones, zones + 4) or not np.isfinite(np.hstack(step)).all():
        raise ValueError(f"{wanted}, got {step.a.shape} and {step.b.shape}")
    return step
