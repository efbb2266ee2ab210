"""Pages of the reference that are made from the code: settings, commands, the Python interface."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from morl.agents import AGENTS, find_agent
from morl.agents.registry import agent_summaries
from morl.experiment.commands import EXAMPLES, POSITIONALS, SCHEMAS, options_of_command
from morl.experiment.options import OptionHelp, field_docstrings, options_of, spelled_value
from morl.experiment.settings import Settings, preset_names
from morl.experiment.tags import DESCRIPTIONS

MODULES_IN_WHOLE = {
    "preferences": ("morl.preferences", "Preferences", "Sets of weight vectors on the simplex, [n, objective]."),
    "utilities": ("morl.utilities", "Utilities", "Utility functions of returns and preferences."),
    "statistics": ("morl.studies.statistics", "Statistics", "Statistics of several seeds and environments."),
    "protocols": ("morl.protocols", "Protocols", "Interfaces of agents, policies and evaluations."),
}
"""Page -> module, title, first sentence: the public names that are defined in the module itself."""

PACKAGES = {
    "morl": ("morl", "morl", "Train, resume, load, evaluate; runs, fronts, policies, loggers."),
    "pareto": ("morl.pareto", "morl.pareto", "Non-dominated points, indicators, archives; objectives are maximized."),
    "envs": ("morl.envs", "morl.envs", "Register, check and build environments."),
    "agents": ("morl.agents", "morl.agents", "Agents, their settings, and the check of an agent of your own."),
    "elicitation": ("morl.elicitation", "morl.elicitation", "Choose a policy by comparing outcomes."),
}
"""Page -> package, title, first sentence: the names in its `__all__`."""


def generated_pages() -> dict[str, str]:
    """Return path under docs/ -> Markdown."""
    pages = {
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/metrics.md": metrics_page(),
    }
    for page, (name, title, text) in PACKAGES.items():
        module = import_module(name)
        pages[f"reference/api/{page}.md"] = api_page(title, text, [(name, one) for one in module.__all__])
    for page, (name, title, text) in MODULES_IN_WHOLE.items():
        module = import_module(name)
        names = [one for one, value in vars(module).items() if _belongs(value, name) and not one.startswith("_")]
        pages[f"reference/api/{page}.md"] = api_page(title, text, [(name, one) for one in names])
    return pages


def _belongs(value: object, module: str) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module


def api_page(title: str, text: str, names: Iterable[tuple[str, str]]) -> str:
    """Return a page of the Python interface.

    Args:
        title: of the page.
        text: its first sentence.
        names: module and name of what it documents, by the module from which users import it.
    """
    parts = [f"# {title}", text]
    for module, name in names:
        value = getattr(import_module(module), name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        parts.append(f"::: {value.__module__}.{value.__qualname__}\n    options:\n      heading: {module}.{name}")
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """Return the page of all settings: of a run, then of each agent and variant."""
    parts = [
        "# Settings",
        "Every setting is a flag of `morl train`, a key of a TOML file and, in Python, an argument of `morl.train`"
        " (settings of a run) or a key of `config={...}` (settings of an agent). Later sources override earlier ones:"
        " defaults, `configs/<agent>/<env>.toml`, `--config FILE.toml`, flags. A value out of its range is refused"
        " before anything is written. `morl train AGENT ENV --help` shows the defaults for an environment.",
        "## A run",
        options_table(options_of_command("train"), Settings),
    ]
    for agent, location in AGENTS.items():
        kinds = [None] if isinstance(location, str) else list(location)
        for kind in kinds:
            config = _config_class(agent, kind)
            where = "" if kind is None else f", {'discrete' if kind == 'Discrete' else 'continuous'} actions"
            presets = ", ".join(f"`{name}`" for name in preset_names(config)) or "none"
            parts += [
                f"## {agent}{where}",
                f"{agent_summaries()[agent]} Presets (`--agent.preset NAME`): {presets}.",
                options_table(options_of(config, "agent."), config),
            ]
    return "\n\n".join(parts) + "\n"


def _config_class(agent: str, kind: str | None) -> type:
    if kind is None:
        return find_agent(agent).config_class
    module, _, name = AGENTS[agent][kind].partition(":")
    return getattr(import_module(module), name).config_class


def commands_page() -> str:
    """Return the page of all commands of `morl`, without the settings of `morl train`."""
    parts = [
        "# Commands",
        "`morl COMMAND --help` prints the same. [Settings](settings.md) has the settings of `morl train`.",
    ]
    for command, schema in SCHEMAS.items():
        words = POSITIONALS[command]
        parts += [f"## morl {command}", f"```text\nmorl {command} {' '.join(words.values())} [options]\n```"]
        parts.append(" ".join((schema.__doc__ or "").split()))
        texts = field_docstrings(schema)
        named = [f"- `{word.strip('[]')}`: {texts[name]}" for name, word in words.items() if name in texts]
        if named:
            parts.append("\n".join(named))
        if command != "train":
            parts.append(options_table(options_of_command(command)))
        parts.append("```bash\n" + "\n".join(EXAMPLES[command]) + "\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def metrics_page() -> str:
    """Return the page of all metrics with a description."""
    parts = [
        "# Metrics",
        "Names in [TensorBoard](../guide/board.md#other-tabs-of-tensorboard) begin with a group. `metrics.jsonl` and"
        " `run.metrics()` have the metrics of agents and those of `time/` without the group.",
        "## Every run",
        _table_of_metrics(DESCRIPTIONS),
    ]
    for agent in AGENTS:
        module = find_agent(agent).__module__.rpartition(".")[0]
        try:
            described = import_module(f"{module}.metrics").METRIC_DESCRIPTIONS
        except ModuleNotFoundError:
            continue
        parts += [f"## {agent}", _table_of_metrics(described)]
    return "\n\n".join(parts) + "\n"


def _table_of_metrics(described: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {_cell(text)} |" for name, text in described.items()]
    return "\n".join(["| name | meaning |", "|---|---|", *rows])


def range_of(schema: type, name: str) -> str:
    """Return the values that a numeric setting takes, in the words of the error for one that is out of range.

    Args:
        schema: a dataclass whose construction checks its fields.
        name: of a field.
    """
    others = {"agent": None} if schema is Settings else {}
    try:
        schema(**(others | {name: -1}))
    except (ValueError, TypeError) as error:
        found = re.fullmatch(rf"{name} is -1(?:\.0)?, but must (?:be |lie )?(.*?)(?:;.*)?", str(error))
        if found and not found[1].startswith("one of"):
            text = found[1].removeprefix("finite and ")
            return text.replace("not negative", "at least 0").replace("an integer >= 0", "at least 0")
    return ""


def options_table(options: Sequence[OptionHelp], schema: type | None = None) -> str:
    """Return options as a table: flag, default, range where they have one, meaning.

    Args:
        options: the options.
        schema: dataclass of the settings; default: none of the options is a setting.
    """
    if not options:
        return ""
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for one in options:
        flag = f"`{one.flag}`" if one.is_switch else f"`{one.flag} {_cell(one.metavar)}`"
        shown = spelled_value(one.default)
        text = _cell(one.text)
        values = "" if schema is None else range_of(schema, one.name)
        if values:
            text = f"{text} *Range:* {values}."
        rows.append(f"| {flag} | {f'`{_cell(shown)}`' if shown else ''} | {text} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
