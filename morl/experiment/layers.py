"""Where settings come from: files, calls and flags as layers, and the presets and tuned files below them.

Tables whose keys are the user's own, such as `env_options`, are merged key by key over the layers, and their values
keep their types: they never pass through the parser.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from morl.experiment.parsing import arguments, option, take_pairs, without_option
from morl.experiment.toml import plain_value, read_table, toml_value

Option = bool | int | float | str
Options = Mapping[str, Option]
Preset = Mapping[str, object]
"""Settings of an agent that differ from its defaults."""

PRESET = "--agent.preset"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Settings from one source: a file, a call or the flags.

    Attributes:
        arguments: all settings but those below, spelled as flags.
        tables: name of an open table, such as "env_options" or "agent.constraints" -> its entries.
        preset: the preset that it chooses; None where it chooses none.
    """

    arguments: tuple[str, ...] = ()
    tables: Mapping[str, Options] = field(default_factory=dict)
    preset: str | None = None


def layer_of_table(table: Mapping[str, object], open_tables: Collection[str] = ()) -> Layer:
    """Return the layer of a TOML file's table or of keyword arguments; entries that are None are passed over.

    Args:
        table: settings by name, those of the agent as the table `agent`.
        open_tables: settings of the agent that are tables with keys of the user's own.

    Raises:
        ValueError: a table is none, or holds what a file cannot hold.
    """
    chosen = {key: value for key, value in table.items() if value is not None}
    tables: dict[str, Options] = {}
    if "env_options" in chosen:
        tables["env_options"] = checked_options("env_options", chosen.pop("env_options"))
    agent = chosen.get("agent")
    preset = None
    if isinstance(agent, Mapping):
        settings = dict(agent)
        chosen_preset = settings.pop("preset", None)
        if not isinstance(chosen_preset, str | None):
            raise ValueError(f"preset is {chosen_preset!r:.100}, but must be the name of a preset")
        preset = chosen_preset
        for name in open_tables:
            if name in settings:
                tables[f"agent.{name}"] = checked_options(name, settings.pop(name))
        chosen["agent"] = settings
    elif agent is not None:
        raise ValueError(f"agent is {agent!r:.100}, but must be a table of settings")
    return Layer(arguments=tuple(arguments(chosen)), tables=tables, preset=preset)


def layer_of_flags(args: Sequence[str], open_tables: Mapping[str, bool] = MappingProxyType({})) -> Layer:
    """Return the layer of command-line flags.

    Args:
        args: the flags.
        open_tables: settings of the agent that are tables with keys of the user's own -> whether values are text.

    Raises:
        ValueError: a flag that is looked for here has no value, or a table has an entry twice.
    """
    kept = list(args)
    tables: dict[str, Options] = {}
    names = {"env_options": False} | {f"agent.{name}": of_text for name, of_text in open_tables.items()}
    for table, of_text in names.items():
        kept, pairs = take_pairs(kept, f"--{table.replace('_', '-')}")
        twice = [key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number])]
        if of_text and twice:  # of constraints, where the earlier one is more than a default
            raise ValueError(f"--{table.replace('_', '-')} has {twice[0]!r} twice, but must have each entry once")
        if pairs:
            tables[table] = {key: value if of_text else plain_value(value) for key, value in pairs}
    preset = option(kept, PRESET)
    return Layer(arguments=tuple(without_option(kept, PRESET)), tables=tables, preset=preset)


def checked_options(table: str, options: object) -> Options:
    """Return the entries of an open table with plain values.

    Raises:
        ValueError: it is no table, or a value is no number, switch or text.
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"{table} is {options!r:.100}, but must be a table of numbers, switches and words")
    entries: dict[str, Option] = {}
    for key, value in options.items():
        plain = value.tolist() if hasattr(value, "tolist") else value  # NumPy's numbers
        if not isinstance(plain, bool | int | float | str):
            raise ValueError(f"{table} has {key} = {value!r}, but its values must be numbers, switches or words")
        for text in (str(key), plain):
            try:
                toml_value(text)
            except ValueError as error:
                raise ValueError(f"{table} has {key!r} = {value!r}, which config.toml cannot hold: {error}") from None
        entries[str(key)] = plain
    return entries


def merged_options(name: str, layers: Sequence[Layer]) -> dict[str, Option]:
    """Return the entries of an open table, merged key by key, later layers over earlier ones."""
    merged: dict[str, Option] = {}
    for layer in layers:
        merged |= layer.tables.get(name, {})
    return merged


def open_tables(config_class: type[Any]) -> dict[str, bool]:
    """Return the settings of an agent that are tables with keys of the user's own: name -> whether values are text."""
    hints = get_type_hints(config_class)
    tables = {one.name: hints[one.name] for one in fields(config_class)}
    return {name: get_args(hint)[1:] == (str,) for name, hint in tables.items() if get_origin(hint) in (dict, Mapping)}


# --- Presets and tuned files ------------------------------------------------------------------------------------------


def presets_of(config_class: type[Any]) -> Mapping[str, Preset]:
    """Return the presets of an agent's settings by name; none where it has none."""
    presets: Mapping[str, Preset] = getattr(config_class, "PRESETS", {})
    return presets


def find_preset(agent_name: str, config_class: type[Any], name: str) -> Preset:
    """Return a preset of an agent.

    Raises:
        ValueError: it has no such preset; the nearest names are in the message.
    """
    presets = presets_of(config_class)
    if name in presets:
        return presets[name]
    if not presets:
        raise ValueError(f"preset is {name!r}, but {agent_name} has no presets for this environment")
    near = get_close_matches(name, presets, n=3, cutoff=0.4) or list(presets)
    raise ValueError(f"preset is {name!r}, but must be one of {agent_name}'s presets, such as {', '.join(near)}")


def tuned_file(agent_name: str, env_id: str) -> Path | None:
    """Return the path of the tuned settings for an agent and environment, if there are any."""
    file = resources.files("morl.configs") / agent_name.replace("-", "_") / f"{env_id}.toml"
    return Path(str(file)) if file.is_file() else None


def tuned_table(agent_name: str, env_id: str) -> dict[str, object]:
    """Return the tuned settings for an agent and environment; an empty table where there are none."""
    file = tuned_file(agent_name, env_id)
    return {} if file is None else read_table(file)


def tuned_layer(table: Mapping[str, object], chosen: str | None, config_class: type[Any]) -> Layer:
    """Return the layer of a tuned file.

    Its `[agent]` table is tuned for one preset, the one that it names, or the defaults. It counts only where no preset
    is chosen or where that one is; the other settings of the file always count.

    Args:
        table: the file.
        chosen: the preset that another layer chooses.
        config_class: the settings of the agent.
    """
    layer = layer_of_table(table, open_tables(config_class))
    of_defaults = chosen is not None and layer.preset is None and not presets_of(config_class).get(chosen)
    if chosen is None or chosen == layer.preset or of_defaults:
        return layer
    return layer_of_table({key: value for key, value in table.items() if key != "agent"})
