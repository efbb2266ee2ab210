"""What `morl COMMAND --help` prints: arguments, options in groups, and the defaults for one environment."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from morl.experiment.commands import EXAMPLES, POSITIONALS, SCHEMAS, USAGE, Train, options_of_command
from morl.experiment.options import OptionHelp, field_docstrings, options_of, spelled_value

NARROWEST = 40
WIDEST = 120
"""Columns of the help, whatever the terminal has."""
TWO_COLUMNS = 90
"""From this width on, descriptions stand beside the options."""
FLAG_COLUMN = 32
"""Columns of the options, where descriptions stand beside them."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Run": ("run_dir", "overwrite", "config", "seed", "seeds", "log"),
    "Training": ("total_steps", "num_envs", "device", "checkpoint_minutes", "time_limit_minutes", "log_every"),
    "Environment": ("env_options", "env_backend", "max_envs", "reward_units"),
    "Novelty": (
        *("novelty_references", "novelty_threshold", "novelty_grace_steps", "novelty_slack", "novelty_penalty"),
        "novelty_response",
    ),
}
"""Options of `morl train` by group; those that begin with `evaluat` and what is left follow in `OTHERS`."""
OTHERS = "Evaluation"
MORE_HELP = (
    "morl train AGENT --help adds the settings of an agent; morl train AGENT ENV --help shows all settings with the"
    " values that are tuned for an environment."
)


@dataclass(frozen=True)
class Defaults:
    """The settings of an agent in an environment, before the user changes any.

    Attributes:
        agent_name: the agent's name.
        config_class: its settings.
        env: the environment; None where the help is that of the agent alone.
        settings: the resolved settings of the run; None where the help is that of the agent alone.
        stated: settings that come from the environment itself where none are given: name -> value.
        source: the tuned file and preset behind them, in words; empty where there are none.
        presets: names of the agent's presets.
        variants: the kind of actions that the settings are for, where the agent has others for other kinds.
    """

    agent_name: str
    config_class: type[Any]
    env: str | None = None
    settings: Any = None
    stated: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    presets: Sequence[str] = ()
    variants: str = ""


def command_help(command: str) -> str:
    """Return the help of a command other than `train`.

    Args:
        command: its name.
    """
    schema = SCHEMAS[command]
    names = POSITIONALS[command]
    usage = USAGE.get(command, f"{' '.join(names.values())} [options]")
    lines = [*_wrapped(f"usage: morl {command} {usage}"), "", *_wrapped(schema.__doc__ or ""), ""]
    texts = field_docstrings(schema)
    for name, word in names.items():
        optional = word.startswith("[") and word.endswith("]")
        lines += _entry(word[1:-1] if optional else word, texts[name])
    lines += ["", "Options"]
    for one in options_of_command(command):
        lines += _option_entry(one)
    lines += _entry("-h, --help", "Show this help.")
    return "\n".join([*lines, *_examples(command)])


def train_help(agents: Mapping[str, str], defaults: Defaults | None = None) -> str:
    """Return the help of `morl train`.

    Args:
        agents: name of each agent -> what it is.
        defaults: of an agent, alone or in an environment; default: no agent is named.
    """
    lines = ["usage: morl train AGENT ENV [options]", "", *_wrapped(Train.__doc__ or ""), ""]
    lines += _entry("AGENT", "Name of an agent, or your own module:Class.")
    for name, summary in agents.items():
        lines += _entry(f"  {name}", summary)
    lines += _entry(
        "ENV",
        "Id of an environment with vector rewards (morl list envs [TEXT]), any of Gymnasium's and mo-gymnasium's"
        " included, or your own module:Name-v0.",
    )
    lines += ["", *_wrapped(_where_settings_come_from(defaults))]
    general = {one.name: one for one in options_of_command("train")}
    grouped = {title: [general.pop(name) for name in names] for title, names in GROUPS.items()}
    grouped[OTHERS] = list(general.values())
    for title, options in grouped.items():
        lines += ["", title]
        for one in options:
            lines += _option_entry(one, _default_here(one, None if defaults is None else defaults.settings, defaults))
    if defaults is None:
        lines += ["", *_wrapped(MORE_HELP)]
        return "\n".join([*lines, *_examples("train")])
    lines += ["", f"Settings of {defaults.agent_name}"]
    if not defaults.presets:
        lines += _wrapped(f"{defaults.agent_name} has no presets.", "  ")
    else:
        lines += _entry("--agent.preset NAME", f"Start from published settings: {', '.join(defaults.presets)}.")
    for one in options_of(defaults.config_class, "agent."):
        agent = None if defaults.settings is None else defaults.settings.agent
        lines += _option_entry(one, _default_here(one, agent, None))
    return "\n".join([*lines, *_examples("train")])


def _where_settings_come_from(defaults: Defaults | None) -> str:
    order = "Later sources win: defaults, configs/<agent>/<env>.toml, --config FILE.toml, flags."
    if defaults is None:
        return order
    if defaults.env is None:
        kind = f" {defaults.variants}; those for other actions differ" if defaults.variants else ""
        return f"{order} The defaults shown are those of {defaults.agent_name} without an environment{kind}."
    source = defaults.source or f"nothing is tuned for {defaults.agent_name} there"
    return f"{order} The defaults shown are those for {defaults.env}: {source}."


def _default_here(one: OptionHelp, settings: object, defaults: Defaults | None) -> str:
    """Return what stands in brackets behind the description of an option; empty where there is nothing to say.

    Args:
        one: the option.
        settings: the resolved settings that hold it; None where there are none.
        defaults: says what the environment itself states; None for the settings of the agent.
    """
    general = spelled_value(one.default)
    here = spelled_value(getattr(settings, one.name, one.default))
    if defaults is not None and not here:
        return spelled_value(defaults.stated.get(one.name))
    if one.name == "device":  # resolved already: "auto" is what stands there
        return general
    return here if here == general else f"{here or 'none'}; elsewhere {general or 'none'}"


def _option_entry(one: OptionHelp, default: str | None = None) -> list[str]:
    """Return the entry of an option.

    Args:
        one: the option.
        default: what stands in brackets; default: the default of the dataclass.
    """
    shown = spelled_value(one.default) if default is None else default
    if not one.is_switch:
        return _entry(f"{one.flag} {one.metavar}", f"{one.text} [default: {shown}]" if shown else one.text)
    group, dot, name = one.flag.removeprefix("--").rpartition(".")
    head = f"--{group}{dot}no-{name}" if shown.startswith("on") else one.flag  # what changes something
    return _entry(head, one.text if shown in ("off", "") else f"{one.text} [default: {shown}]")


def _entry(head: str, text: str) -> list[str]:
    """Return an entry: its head and its text beside it, or below it where the terminal is narrow or the head long."""
    width = _width()
    if width < TWO_COLUMNS:
        return [*_head(head, width), *_wrapped(text, "        ")]
    lines = _wrapped(text, " " * FLAG_COLUMN)
    if len(head) + 4 > FLAG_COLUMN or not lines:
        return [*_head(head, width), *lines]
    return [f"  {head}".ljust(FLAG_COLUMN) + lines[0].lstrip(), *lines[1:]]


def _head(head: str, width: int) -> list[str]:
    """Return the head of an entry as lines; choices such as {a,b,c} continue behind a comma where they are too wide."""
    parts = head.replace(",", ", ") if "{" in head else head
    lines = textwrap.wrap(
        parts, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False, break_long_words=False
    )
    return [line.replace(", ", ",") for line in lines] if "{" in head else lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _width(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _examples(command: str) -> list[str]:
    return ["", "Examples", *(f"  {line}" for line in EXAMPLES[command])]


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
