"""What all campaigns share: a case, what a campaign is given, and the words that say why something did not survive."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Case:
    """One thing that was tried.

    Attributes:
        name: what was tried, unique within its campaign.
        survived: whether the product did what docs/results/reliability.md promises; None: it could not be tried here.
        note: why it did not survive, or could not be tried.
    """

    name: str
    survived: bool | None
    note: str = ""


@dataclass(frozen=True)
class Scratch:
    """What a campaign works with.

    Attributes:
        folder: an empty folder of its own.
        random: draws the order of cases and everything that is random in them.
    """

    folder: Path
    random: np.random.Generator


Campaign = Callable[[Scratch], Iterator[Case]]
"""Yields cases one by one, as many as somebody asks for; campaigns that list their cases end by themselves."""


def judged(name: str, complaints: list[str]) -> Case:
    """Return the case: it survived if nothing is there to complain about."""
    return Case(name, not complaints, "; ".join(complaints))


def shuffled(scratch: Scratch, items: list[object]) -> list[object]:
    """Return the items in a random order."""
    return [items[place] for place in scratch.random.permutation(len(items))]
