"""The settings of a run: a frozen dataclass is the schema, TOML files are values, tyro is the only parser.

Precedence: dataclass defaults < preset < configs/<agent>/<env-id>.toml < --config FILE < flags (or arguments of
`morl.train`), each a `morl.experiment.layers.Layer`.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import (
    Any,
    Generic,
    Literal,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from morl.envs.core.novelty import NoveltyBound
from morl.experiment.kinds import check_kinds, plain_values
from morl.experiment.layers import (
    Layer,
    Option,
    find_preset,
    layer_of_flags,
    layer_of_table,
    merged_options,
    open_tables,
    presets_of,
    tuned_file,
    tuned_layer,
    tuned_table,
)
from morl.experiment.parsing import parse
from morl.experiment.toml import read_table, write_table
from morl.learning.types import Device
from morl.output_files import checked_path

AgentConfig = TypeVar("AgentConfig")

MOST_ENVS = 2**20
"""Largest number of environments: more fit into no machine."""


@dataclass(frozen=True, kw_only=True)
class Settings(Generic[AgentConfig]):
    """Everything that determines a run, its agent's settings included."""

    agent: AgentConfig
    """Settings of the agent."""
    total_steps: int = 100_000
    """Environment steps of training."""
    seed: int = 0
    """The one integer that every random stream is derived from."""
    device: Device = "auto"
    """Where networks live; auto is the CPU."""
    num_envs: int = 10
    """Number of environments that the agent learns from."""
    env_backend: Literal["processes", "synchronous"] | None = None
    """Backend that steps the environments: processes pay off for slow Python environments. Default: the fastest of
    those that give the same results."""
    max_envs: int | None = None
    """Largest number of environments that exist at once, for training and evaluation together, such as the number of
    licenses of a simulator; default: evaluations use as many as suit the backend."""
    env_options: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Arguments of the environment's constructor, such as: depth 7. May be repeated; values are read as in TOML."""
    reward_units: Literal["measured", "environment"] = "measured"
    """Units of the rewards that the agent learns from: measured, so that every objective pays about 1 in a random step
    whatever its scale, or the environment's own. Reports are in the environment's units in any case."""
    novelty_references: tuple[str, ...] = ()
    """Policy files (`policy.save`, or those of a run folder) that the agent's policies must differ from: an episode of
    training ends where its actions are too much like those of one of them (docs/guide/diverse_policies.md)."""
    novelty_threshold: float = NoveltyBound.threshold
    """Least mean distance of the actions of an episode from each reference's: of discrete actions the share that
    differs, else Euclidean with every action in [-1, 1]."""
    novelty_grace_steps: int = NoveltyBound.grace_steps
    """Steps of an episode before it may be ended."""
    novelty_slack: float = NoveltyBound.slack
    """An episode ends where its sum of (distance - threshold) falls to minus this."""
    novelty_penalty: tuple[float, ...] = NoveltyBound.penalty
    """Subtracted from the reward of a step that violates the bound, in the environment's units: one number for all
    objectives or one for each. Ending early must cost something where rewards are negative."""
    novelty_response: Literal["end", "report"] = "end"
    """What a violation does: end the episode, or nothing but report it, for agents that follow the gradient of novelty
    instead (morl-d with solver ppo and novelty ctnb)."""
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
    select_by: str = "auto"
    """Criterion for the best evaluation, whose front and policies are reported: expected-utility, hypervolume, a
    utility such as tchebycheff or your own module:function, or your own indicator:module:function of (points, reference
    point); auto: expected-utility if the agent optimizes weighted sums, else hypervolume."""
    log_every: int = 1_000
    """Environment steps between two log lines."""
    checkpoint_minutes: float = 5.0
    """Wall-clock minutes between two checkpoints; one is also saved at the end and when the run is interrupted."""
    time_limit_minutes: float | None = None
    """Stop after this many minutes; the run can be resumed."""

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
        if self.num_envs > MOST_ENVS:
            raise ValueError(f"num_envs is {self.num_envs}, but must be at most {MOST_ENVS:,}")
        if self.max_envs is not None and self.max_envs < self.num_envs:
            raise ValueError(f"max_envs is {self.max_envs}, but must be at least num_envs, which is {self.num_envs}")
        self._refuse_novelty_without_effect()
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, but must be an integer >= 0")
        if self.discount is not None and not 0.0 <= self.discount <= 1.0:
            raise ValueError(f"discount is {self.discount}, but must lie between 0 and 1")

    def _refuse_novelty_without_effect(self) -> None:
        """Raise ValueError where a setting of novelty cannot work, or has no effect with the others."""
        bound = self.novelty_bound  # which checks its values
        if not bound.ends and bound.penalty != NoveltyBound.penalty:
            raise ValueError(f"novelty_penalty is {bound.penalty}, but has no effect: it needs novelty_response 'end'")
        if self.novelty_references:
            return
        for name in ("threshold", "grace_steps", "slack", "penalty", "ends"):
            value = getattr(bound, name)
            if value != getattr(NoveltyBound, name):
                setting = "response is 'report'" if name == "ends" else f"{name} is {value}"
                raise ValueError(f"novelty_{setting}, but has no effect: it needs novelty_references")

    @property
    def novelty_bound(self) -> NoveltyBound:
        """Return how far training must stay from the references."""
        return NoveltyBound(
            threshold=self.novelty_threshold,
            grace_steps=self.novelty_grace_steps,
            slack=self.novelty_slack,
            penalty=self.novelty_penalty,
            ends=self.novelty_response == "end",
        )


WholeNumber: TypeAlias = int | float
"""A whole number; floats such as 1e4 are accepted."""


def whole(name: str, value: float, least: int) -> int:
    """Return an argument that must be a whole number, which may be a float such as 1e4.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest that is allowed.

    Raises:
        ValueError: it is no whole number, or too small.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not float(value).is_integer():
        raise ValueError(f"{name} is {value!r:.100}, but must be an integer")
    if value < least:
        raise ValueError(f"{name} is {value}, but must be at least {least}")
    return int(value)


class SettingsArguments(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments of `morl.train`, for type checkers and editors."""

    num_envs: WholeNumber
    env_backend: Literal["processes", "synchronous"] | None
    max_envs: WholeNumber | None
    env_options: Mapping[str, Option]
    reward_units: Literal["measured", "environment"]
    novelty_references: Sequence[str | Path]
    novelty_threshold: float
    novelty_grace_steps: WholeNumber
    novelty_slack: float
    novelty_penalty: Sequence[float]
    novelty_response: Literal["end", "report"]
    discount: float | None
    reference_point: Sequence[float] | None
    evaluate_every: WholeNumber
    evaluation_divisions: WholeNumber | None
    evaluation_episodes: WholeNumber
    select_by: str
    log_every: WholeNumber
    checkpoint_minutes: float
    time_limit_minutes: float | None


class SeedsArguments(SettingsArguments, total=False):
    """Keyword arguments of `morl.train_seeds`."""

    total_steps: WholeNumber | None
    device: str | None
    config: Mapping[str, object] | None


# --- Resolving --------------------------------------------------------------------------------------------------------

Source = Mapping[str, object] | Sequence[str]
"""Where settings come from: a table (a TOML file's, or keyword arguments), or command-line flags."""


@dataclass(frozen=True)
class Resolved:
    """Settings, and what they began with.

    Attributes:
        settings: the settings; `device` is never "auto".
        preset: the preset; None for the defaults.
        chosen: flags of the settings that nobody should adapt: the user has chosen them, or they are tuned for a run of
            this length.
    """

    settings: Settings[Any]
    preset: str | None
    chosen: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class Combined:
    """All layers as one list of flags for the parser, and what does not pass through it.

    Attributes:
        arguments: the flags, in the order of precedence.
        env_options: the environment's options.
        agent_tables: settings of the agent that are tables with values of any type.
        preset: the preset; None for the defaults.
        chosen: flags of the settings that the user has chosen, above presets and tuned files.
        tuned: flags of the settings that are tuned for the environment.
        tuned_steps: environment steps of the run that they are tuned for; 0 where the tuned file does not say.
    """

    arguments: list[str]
    env_options: dict[str, Option]
    agent_tables: dict[str, dict[str, Option]]
    preset: str | None
    chosen: frozenset[str] = frozenset()
    tuned: frozenset[str] = frozenset()
    tuned_steps: int = 0

    def resolved(self, parsed: Settings[Any]) -> Resolved:
        """Return the settings that were parsed from `arguments`, with what did not pass through the parser."""
        device = "cpu" if parsed.device == "auto" else parsed.device
        agent = replace(parsed.agent, **self.agent_tables) if self.agent_tables else parsed.agent
        settings = replace(parsed, agent=agent, env_options=self.env_options, device=device)
        fit_already = self.tuned if parsed.total_steps >= self.tuned_steps else frozenset()
        return Resolved(settings, self.preset, self.chosen | fit_already)


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
    layers = [
        layer_of_config(source, config_class) if isinstance(source, Mapping) else layer_of_flags(source, tables)
        for source in sources
    ]
    chosen = next((layer.preset for layer in reversed(layers) if layer.preset is not None), None)
    table = tuned_table(agent_name, env_id)
    layers.insert(0, tuned_layer(table, chosen, config_class))
    steps = table.get("total_steps", 0)
    return replace(
        _combined(config_class, agent_name, layers, chosen or layers[0].preset),
        chosen=_flags(layers[1:]),
        tuned=_flags(layers[:1]),
        tuned_steps=steps if isinstance(steps, int) else 0,
    )


def _flags(layers: Sequence[Layer]) -> frozenset[str]:
    """Return the settings that layers name, spelled as flags."""
    return frozenset(word for layer in layers for word in layer.arguments if word.startswith("--"))


def _combined(config_class: type[Any], agent_name: str, layers: Sequence[Layer], preset: str | None) -> Combined:
    """Return the layers behind a preset."""
    stack = list(layers)
    if preset is not None:
        expanded: dict[str, object] = {"agent": find_preset(agent_name, config_class, preset)}
        if preset in getattr(config_class, "RAW_REWARD_PRESETS", ()):
            expanded["reward_units"] = "environment"
        stack.insert(0, layer_of_table(expanded, open_tables(config_class)))
    words = [word for layer in stack for word in layer.arguments]
    typed: dict[str, dict[str, Option]] = {}
    for name, of_text in open_tables(config_class).items():
        entries = merged_options(f"agent.{name}", stack)
        if entries:
            for key, value in entries.items() if of_text else ():
                if key.startswith("-") or str(value).startswith("-"):
                    raise ValueError(f"{name} has {key} = {value!r}, but neither may begin with a minus sign")
            words.append(f"--agent.{name.replace('_', '-')}")
            words += [str(text).lstrip("-") for entry in entries.items() for text in entry]
            if not of_text:
                typed[name] = entries
    return Combined(words, merged_options("env_options", stack), typed, preset)


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
    combined = replace(_combined(config_class, agent_name, [layer], layer.preset), chosen=_flags([layer]))
    return combined.resolved(parse(schema_of(config_class), combined.arguments, style="file"))


def schema_of(config_class: type[Any]) -> type[Settings[Any]]:
    """Return the schema of all settings of a run, those of its agent included."""
    return cast(type[Settings[Any]], Settings[config_class])  # type: ignore[valid-type]


def file_sources(file: str | None) -> list[Source]:
    """Return the source that a TOML file is; none where none is given.

    Raises:
        ValueError: the file does not exist or is not TOML.
    """
    return [] if file is None else [read_table(checked_path("config", file))]


def preset_names(config_class: type[Any]) -> tuple[str, ...]:
    """Return the names of an agent's presets."""
    return tuple(presets_of(config_class))


def described_sources(agent_name: str, env_id: str, preset: str | None) -> str:
    """Return the tuned file and the preset behind the settings of an agent in an environment, in words.

    Args:
        agent_name: the agent's name.
        env_id: the environment's id.
        preset: the preset that is chosen; None for the defaults.
    """
    tuned = tuned_file(agent_name, env_id)
    sources = [] if tuned is None else [f"configs/{tuned.parent.name}/{tuned.name}"]
    return " over ".join([*sources, *([] if preset is None else [f"the preset {preset}"])])


def _options_alone(table: Mapping[str, object]) -> Mapping[str, object]:
    return {"env_options": table.get("env_options")}


# --- config.toml ------------------------------------------------------------------------------------------------------


def to_toml(settings: Settings[Any], agent_name: str, env: str, preset: str | None = None) -> str:
    """Return the resolved settings as TOML; `None` is spelled by a comment in place of the key.

    So a file tells a setting that was None from one that the version which wrote it did not have.

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
    return write_table({"agent_name": agent_name, "env": env} | entries | sections, with_unset=True)


def hyper_parameters(settings: Settings[Any], agent_name: str, env: str) -> dict[str, bool | int | float | str]:
    """Return all settings as one table of numbers, words and truth values, those of the agent as `agent.<name>`.

    Anything else is spelled as text, None too: TensorBoard does not see that runs differ where one has no value.

    Args:
        settings: the settings.
        agent_name: the agent's name.
        env: the environment's id.
    """
    entries = asdict(settings)
    for name in ("env_options", "agent"):
        entries |= {f"{name}.{key}": value for key, value in entries.pop(name).items()}
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in entries.items()
    }
    return {"agent_name": agent_name, "env": env} | plain


def layer_of_config(table: Mapping[str, object], config_class: type[Any]) -> Layer:
    """Return the layer of a run's own config.toml, or of any other settings file.

    A run's file is complete: a setting that it leaves out is None, whatever the default or the preset says.

    Args:
        table: the file.
        config_class: settings of the agent.

    Raises:
        ValueError: a value is of another kind than its setting.
    """
    table = plain_values({key: value for key, value in table.items() if value is not None})
    check_kinds(table, Settings)
    own = table.get("agent")
    if isinstance(own, Mapping):
        check_kinds(own, config_class)
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
    unions = {one.name: hints[one.name] for one in fields(config_class)}
    return [
        name
        for name, hint in unions.items()
        if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
    ]
