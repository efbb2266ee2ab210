"""The settings of a run: a frozen dataclass is the schema, TOML files are values, tyro is the only parser.

Precedence: dataclass defaults < preset < configs/<agent>/<env-id>.toml < --config FILE < flags (or arguments of
`morl.train`). Each of the last three is a `Layer`. Tables whose keys are the user's own, such as `env_options`, are
merged key by key; their values keep their types, because they never pass through the parser.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from morl.experiment.parsing import arguments, option, parse, take_pairs, without_option
from morl.experiment.toml import plain_value, read_table, toml_value, write_table

AgentConfig = TypeVar("AgentConfig")

Option = bool | int | float | str
Options = Mapping[str, Option]
Preset = Mapping[str, object]
"""Settings of an agent that differ from its defaults."""

PRESET = "--agent.preset"


@dataclass(frozen=True, kw_only=True)
class Settings(Generic[AgentConfig]):
    """Everything that determines a run, its agent's settings included."""

    agent: AgentConfig
    """Settings of the agent."""
    total_steps: int = 100_000
    """Environment steps of training."""
    seed: int = 0
    """The one integer that every random stream is derived from."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks live; auto is the CPU."""
    num_envs: int = 10
    """Number of environments that the agent learns from."""
    env_backend: Literal["processes", "synchronous"] | None = None
    """Backend that steps the environments: processes pay off for slow Python environments. Default: the fastest of
    those that give the same results."""
    env_options: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Arguments of the environment's constructor, such as: depth 7. May be repeated; values are read as in TOML."""
    discount: float | None = None
    """Discount factor of evaluation; default: the environment's own."""
    reference_point: tuple[float, ...] | None = None
    """Reference point of the hypervolume; default: the environment's own."""
    evaluate_every: int = 10_000
    """Environment steps between two evaluations."""
    evaluation_divisions: int | None = None
    """Resolution of the evaluation grid of preferences; default: the finest of at most 250 preferences."""
    evaluation_episodes: int = 5
    """Episodes for each preference or policy in an evaluation."""
    log_every: int = 1_000
    """Environment steps between two log lines."""
    checkpoint_minutes: float = 5.0
    """Wall-clock minutes between two checkpoints; one is also saved at the end and when the run is interrupted."""
    time_limit_minutes: float | None = None
    """Stop, resumable, after this many minutes."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        counts = ("total_steps", "num_envs", "evaluate_every", "log_every", "evaluation_episodes", "checkpoint_minutes")
        for name in counts:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be greater than 0")
        for name in ("evaluation_divisions", "time_limit_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}, but must be greater than 0")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, but must be an integer >= 0")
        if self.discount is not None and not 0.0 <= self.discount <= 1.0:
            raise ValueError(f"discount is {self.discount}, but must lie between 0 and 1")


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


# --- Layers -----------------------------------------------------------------------------------------------------------


def layer_of_table(table: Mapping[str, object], open_tables: Sequence[str] = ()) -> Layer:
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
        if settings.get("preset") is not None:
            preset = str(settings.pop("preset"))
        for name in open_tables:
            if name in settings:
                tables[f"agent.{name}"] = checked_options(name, settings.pop(name))
        chosen["agent"] = settings
    elif agent is not None:
        raise ValueError(f"agent is {agent!r:.100}, but must be a table of settings")
    return Layer(arguments=tuple(arguments(chosen)), tables=tables, preset=preset)


def layer_of_flags(args: Sequence[str], open_tables: Sequence[str] = ()) -> Layer:
    """Return the layer of command-line flags; arguments as for `layer_of_table`.

    Raises:
        ValueError: a flag that is looked for here has no value.
    """
    kept = list(args)
    tables: dict[str, Options] = {}
    for table in ("env_options", *(f"agent.{name}" for name in open_tables)):
        kept, pairs = take_pairs(kept, f"--{table.replace('_', '-')}")
        if pairs:
            read = plain_value if table == "env_options" else str
            tables[table] = {key: read(value) for key, value in pairs}
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


def open_tables(config_class: type[Any]) -> tuple[str, ...]:
    """Return the settings of an agent that are tables with keys of the user's own."""
    hints = get_type_hints(config_class)
    return tuple(one.name for one in fields(config_class) if get_origin(hints[one.name]) in (dict, Mapping))


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


# --- Resolving --------------------------------------------------------------------------------------------------------

Source = Mapping[str, object] | Sequence[str]
"""Where settings come from: a table (a TOML file's, or keyword arguments), or command-line flags."""


@dataclass(frozen=True)
class Resolved:
    """Settings, and what they began with.

    Attributes:
        settings: the settings; `device` is never "auto".
        preset: the preset; None for the defaults.
    """

    settings: Settings[Any]
    preset: str | None


@dataclass(frozen=True)
class Combined:
    """All layers as one list of flags for the parser, and what does not pass through it.

    Attributes:
        arguments: the flags, in the order of precedence.
        env_options: the environment's options.
        preset: the preset; None for the defaults.
    """

    arguments: list[str]
    env_options: dict[str, Option]
    preset: str | None

    def resolved(self, parsed: Settings[Any]) -> Resolved:
        """Return the settings that were parsed from `arguments`, with what did not pass through the parser."""
        device = "cpu" if parsed.device == "auto" else parsed.device
        return Resolved(replace(parsed, env_options=self.env_options, device=device), self.preset)


def env_options_of(agent_name: str, env_id: str, sources: Sequence[Source]) -> dict[str, Option]:
    """Return the environment's options; arguments as for `combine`. They are needed before the agent is known."""
    sources = [tuned_table(agent_name, env_id), *sources]
    tables = [
        layer_of_flags(source) if not isinstance(source, Mapping) else layer_of_table(_options_alone(source))
        for source in sources
    ]
    return merged_options("env_options", tables)


def combine(config_class: type[Any], agent_name: str, env_id: str, sources: Sequence[Source]) -> Combined:
    """Return all settings in the order of precedence: preset, tuned file, then the sources, later over earlier ones.

    Args:
        config_class: settings of the agent.
        agent_name: the agent's name, for the tuned file.
        env_id: the environment's id, for the tuned file.
        sources: `--config` and flags, or the arguments of a call.

    Raises:
        ValueError: a source is malformed, or there is no such preset.
    """
    tables = open_tables(config_class)
    layers = []
    for source in sources:
        layers.append(
            layer_of_config(source, config_class) if isinstance(source, Mapping) else layer_of_flags(source, tables)
        )
    chosen = next((layer.preset for layer in reversed(layers) if layer.preset is not None), None)
    layers.insert(0, tuned_layer(tuned_table(agent_name, env_id), chosen, config_class))
    return _combined(config_class, agent_name, layers, chosen or layers[0].preset)


def _combined(config_class: type[Any], agent_name: str, layers: Sequence[Layer], preset: str | None) -> Combined:
    """Return the layers behind a preset."""
    stack = list(layers)
    if preset is not None:
        expanded = find_preset(agent_name, config_class, preset)
        stack.insert(0, layer_of_table({"agent": expanded}, open_tables(config_class)))
    words = [word for layer in stack for word in layer.arguments]
    for name in open_tables(config_class):
        entries = merged_options(f"agent.{name}", stack)
        if entries:
            words.append(f"--agent.{name.replace('_', '-')}")
            words += [str(text) for entry in entries.items() for text in entry]
    return Combined(words, merged_options("env_options", stack), preset)


def resolve(agent_class: Any, agent_name: str, env_id: str, overrides: Mapping[str, object]) -> Settings[Any]:
    """Return the settings for an agent class and environment: defaults, preset, tuned file, then `overrides`.

    Args:
        agent_class: the agent.
        agent_name: its name, for the tuned file.
        env_id: the environment's id, for the tuned file.
        overrides: settings by name, those of the agent as the table `agent`; None stands for "not given".

    Raises:
        ValueError: a key or value is wrong; one sentence says which and what would be right.
    """
    return resolve_sources(agent_class.config_class, agent_name, env_id, [overrides]).settings


def resolve_sources(config_class: type[Any], agent_name: str, env_id: str, sources: Sequence[Source]) -> Resolved:
    """Return the settings; arguments and errors as for `combine`, and values are checked."""
    combined = combine(config_class, agent_name, env_id, sources)
    return combined.resolved(parse(schema_of(config_class), combined.arguments))


def resolve_config(config_class: type[Any], agent_name: str, table: Mapping[str, object]) -> Resolved:
    """Return the settings that a run's config.toml holds, whatever tuned files say by now.

    Raises:
        ValueError: a key or value is wrong, such as one of another version.
    """
    layer = layer_of_config(table, config_class)
    combined = _combined(config_class, agent_name, [layer], layer.preset)
    return combined.resolved(parse(schema_of(config_class), combined.arguments, program="config.toml"))


def schema_of(config_class: type[Any]) -> type[Settings[Any]]:
    """Return the schema of all settings of a run, those of its agent included."""
    return cast(type[Settings[Any]], Settings[config_class])  # type: ignore[valid-type]


def _options_alone(table: Mapping[str, object]) -> Mapping[str, object]:
    return {"env_options": table.get("env_options")}


def settings_description(agent_name: str, config_class: type[Any]) -> str:
    """Return what the help says first: the presets of the agent."""
    names = ", ".join(presets_of(config_class))
    presets = f"Presets of {agent_name} ({PRESET} NAME): {names}." if names else f"{agent_name} has no presets here."
    return f"Train an agent on an environment. {presets}"


# --- config.toml ------------------------------------------------------------------------------------------------------


def to_toml(settings: Settings[Any], agent_name: str, env: str, preset: str | None = None) -> str:
    """Return the resolved settings as TOML; `None` is spelled by leaving the key out.

    Args:
        settings: the settings.
        agent_name: the agent's name.
        env: the environment's id, with its module.
        preset: the preset that the settings began with.

    Raises:
        ValueError: a setting cannot be written as TOML.
    """
    entries = asdict(settings)
    sections = {name: entries.pop(name) for name in ("env_options", "agent")}
    chosen = {} if preset is None else {"preset": preset}
    sections["agent"] = chosen | sections["agent"]
    return write_table({"agent_name": agent_name, "env": env} | entries | sections)


def layer_of_config(table: Mapping[str, object], config_class: type[Any]) -> Layer:
    """Return the layer of a run's own config.toml, or of any other settings file.

    A run's file is complete: a setting that it leaves out is None, whatever the default or the preset says.

    Args:
        table: the file.
        config_class: settings of the agent.
    """
    if "agent_name" not in table:
        return layer_of_table(table, open_tables(config_class))
    settings = {key: value for key, value in table.items() if key not in ("agent_name", "env")}
    agent = cast(Mapping[str, object], settings.pop("agent", {}))
    layer = layer_of_table(settings | {"agent": agent}, open_tables(config_class))
    missing = [f"--agent.{name.replace('_', '-')}" for name in optional_fields(config_class) if name not in agent]
    missing += [f"--{name.replace('_', '-')}" for name in optional_fields(Settings) if name not in settings]
    nothing = [word for name in missing for word in (name, "None")]
    return replace(layer, arguments=(*nothing, *layer.arguments))


def optional_fields(config_class: type[Any]) -> list[str]:
    """Return the settings that may be None."""
    hints = get_type_hints(config_class)
    names = []
    for one in fields(config_class):
        if get_origin(hints[one.name]) in (Union, types.UnionType) and type(None) in get_args(hints[one.name]):
            names.append(one.name)
    return names
