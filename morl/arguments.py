"""Checks of arguments that every package shares."""

import numpy as np


def check_switches(**switches: object) -> None:
    """Check that arguments are True or False: a text such as "no" would count as true.

    Args:
        switches: name -> value.

    Raises:
        ValueError: one is neither.
    """
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} is {value!r:.100}, but must be True or False")


def check_optional_switches(**switches: object) -> None:
    """Check that arguments are True, False or None, which stands for a default; arguments as for `check_switches`."""
    check_switches(**{name: value for name, value in switches.items() if value is not None})
