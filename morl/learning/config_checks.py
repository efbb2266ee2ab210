"""What the settings of several agents share: presets, and checks, each with one sentence about a setting."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import ClassVar, Self


class Presets:
    """Settings with published values by name.

    Attributes:
        PRESETS: name -> the fields that differ from the defaults.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]]

    @classmethod
    def preset(cls, name: str, **changes: object) -> Self:
        """Return published settings with changes.

        Args:
            name: of `PRESETS`.
            changes: fields that differ from the preset.

        Raises:
            ValueError: there is no such preset, or a value cannot work.
        """
        if name not in cls.PRESETS:
            raise ValueError(f"preset is {name!r}, but must be one of {', '.join(cls.PRESETS)}")
        values: dict[str, object] = {**cls.PRESETS[name], **changes}
        return cls(**values)


def check_choices(config: object, choices: Mapping[str, Sequence[str]]) -> None:
    """Check the fields that must be one of several names.

    Args:
        config: the settings.
        choices: field -> its names.

    Raises:
        ValueError: a field has another value.
    """
    for name, allowed in choices.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}")


def check_positive(config: object, names: Iterable[str]) -> None:
    """Check the fields that must be finite and greater than 0; None passes.

    Raises:
        ValueError: a field is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < inf:
            raise ValueError(f"{name} is {value}, but must be finite and greater than 0")


def check_shares(config: object, names: Iterable[str]) -> None:
    """Check the fields that must lie between 0 and 1; None passes.

    Raises:
        ValueError: a field does not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}, but must lie between 0 and 1")
