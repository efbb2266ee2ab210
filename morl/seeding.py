"""One integer seed becomes named random streams that never meet.

A stream depends on (seed, name, keys) alone: drawing more from one changes nothing in another, so that evaluating more
often cannot change training.
"""

import zlib

import numpy as np


def stream(seed: int, name: str, *keys: int) -> np.random.Generator:
    """Return the generator of the stream `name`; `keys` (training step, episode, ...) open sub-streams."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, name, keys)))


def derived_seed(seed: int, name: str, *keys: int) -> int:
    """Return a 31-bit seed for a part that takes an integer: an environment, a torch generator."""
    return int(_sequence(seed, name, keys).generate_state(1)[0] >> 1)


def _sequence(seed: int, name: str, keys: tuple[int, ...]) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"seed is {seed}, but must be an integer >= 0")
    return np.random.SeedSequence([seed, zlib.crc32(name.encode()), *keys])
