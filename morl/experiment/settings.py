"""The settings of a run: a frozen dataclass is the schema, TOML files are values, tyro is the only parser.

Precedence: dataclass defaults < configs/<agent>/<env-id>.toml < --config FILE < flags (or arguments of `morl.train`).
"""

import contextlib
import io
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import tyro

AgentConfig = TypeVar("AgentConfig")
Parsed = TypeVar("Parsed")


OPEN_TABLES = ("env_options", "constraints", "solver_kwargs")
"""Settings that are tables with keys of the user's own."""


@dataclass(frozen=True, kw_only=True)
class Settings(Generic[AgentConfig]):
    """All that determines a run, its agent's settings included."""

    agent: AgentConfig
    """Settings of the agent."""
    total_steps: int = 100_000
    """Environment steps of training."""
    seed: int = 0
    """The one integer that every random stream is derived from."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks live; auto takes CUDA where there is one."""
    num_envs: int = 10
    """Lanes of the vector environment that the agent learns from."""
    backend: Literal["processes", "synchronous"] | None = None
    """Back end of the environments: processes pay for slow Python ones; the fastest of equals where not given."""
    env_options: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Arguments of the environment's constructor, such as: depth 7."""
    discount: float | None = None
    """Evaluation discount; the environment's own where not given."""
    reference_point: tuple[float, ...] | None = None
    """Reference point of the hypervolume; the environment's own where not given."""
    evaluate_every: int = 10_000
    """Environment steps between two evaluations."""
    evaluation_divisions: int | None = None
    """Resolution of the evaluation grid of preferences; about 100 to 250 preferences where not given."""
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


def resolve(agent: Any, agent_name: str, env_id: str, overrides: Mapping[str, Any]) -> Settings[Any]:
    """Return the settings for an agent class and environment: defaults, tuned file, then `overrides`.

    Raises:
        ValueError: a key or value is wrong; one sentence says which and what would be right.
    """
    chosen = {key: value for key, value in overrides.items() if value is not None}
    given = list(arguments(chosen))
    tuned = tuned_arguments(agent_name, env_id, given)
    return parse(Settings[agent.config_class], expand_preset(agent.config_class, [*tuned, *given]))


def expand_preset(config_class: Any, args: Sequence[str]) -> list[str]:
    """Return arguments with --agent.preset replaced by the settings of that preset, before all others.

    Minimal version of branch P: on merging, the version of branch X wins.
    """
    presets = getattr(config_class, "PRESETS", None)
    name = option(args, "--agent.preset")
    if presets is None or name is None:
        return list(args)
    if name not in presets:
        raise ValueError(f"preset is {name!r}, but must be one of {', '.join(presets)}")
    rest = list(args)
    while "--agent.preset" in rest:
        position = rest.index("--agent.preset")
        del rest[position : position + 2]
    rest = [word for word in rest if not word.startswith("--agent.preset=")]
    return [*arguments({"agent": presets[name]}), *rest]


def parse(schema: type[Parsed], args: Sequence[str], program: str = "morl train") -> Parsed:
    """Return the schema filled from command-line arguments; on --help print it and exit.

    Raises:
        ValueError: with tyro's complaint as one sentence.
    """
    complaint = io.StringIO()
    args = _with_preset(schema, args)
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(schema, args=list(args), prog=program)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(_one_sentence(complaint.getvalue(), schema)) from None


# --- Stopgap of branch M for presets that are no field; helper X's expansion replaces it ------------------------------


def _with_preset(schema: Any, args: Sequence[str]) -> Sequence[str]:
    """Return the arguments with `--agent.preset NAME` replaced by the fields of that preset, in front of all others."""
    name = option(args, "--agent.preset")
    config_class = next(iter(get_args(schema)), None)
    presets = getattr(config_class, "PRESETS", None)
    if name is None or presets is None:
        return args
    if name not in presets:
        raise ValueError(f"preset is {name!r}, but must be one of {', '.join(presets)}")
    rest = list(args)
    for place in reversed([i for i, word in enumerate(rest) if word.partition("=")[0] == "--agent.preset"]):
        del rest[place : place + (1 if "=" in rest[place] else 2)]
    return [*arguments({"agent": presets[name]}), *rest]


# ----------------------------------------------------------------------------------------------------------------------


def arguments(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a nested table spelled as command-line arguments, so that one parser checks files, calls and flags."""
    for key, value in table.items():
        name = f"--{prefix}{str(key).replace('_', '-')}"
        value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's arrays and numbers
        match value:
            case Mapping() if key in OPEN_TABLES:
                if value:
                    yield name
                    yield from _options(key, value)
            case Mapping():
                yield from arguments(value, f"{prefix}{str(key).replace('_', '-')}.")
            case bool():
                yield name if value else f"--{prefix}no-{str(key).replace('_', '-')}"
            case list() | tuple():
                yield from (name, *map(str, value))
            case _:
                yield from (name, str(value))


def _options(table: str, options: Mapping[str, Any]) -> Iterator[str]:
    for key, value in options.items():
        plain = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(plain, bool | int | float | str):
            raise ValueError(f"{table} has {key} = {value!r}, but its values must be numbers, switches or words")
        yield from (str(key), str(plain))


def tuned_file(agent_name: str, env_id: str) -> Path | None:
    """Return the path of the tuned settings for an agent and environment, if there are any."""
    file = resources.files("morl.configs") / agent_name.replace("-", "_") / f"{env_id}.toml"
    return Path(str(file)) if file.is_file() else None


def tuned_arguments(agent_name: str, env_id: str, given: Sequence[str]) -> list[str]:
    """Return the tuned settings, spelled as arguments; none where there is no file.

    A file may say for which preset its agent was tuned: where `given` arguments ask for another, only what it says of
    the run is returned.
    """
    file = tuned_file(agent_name, env_id)
    if file is None:
        return []
    table = read_table(file)
    preset = option(given, "--agent.preset")
    if preset is not None and preset != table.get("agent", {}).get("preset", preset):
        del table["agent"]
    preset = option(given, "--agent.preset")  # stopgap of branch M, as above
    if preset is not None and preset != table.get("agent", {}).get("preset", preset):
        del table["agent"]
    return list(arguments(table))


def file_arguments(file: Path) -> list[str]:
    """Return the settings of a TOML file, spelled as arguments."""
    # A run's own config.toml also names what it trained; that is said elsewhere on a command line.
    return list(arguments({k: value for k, value in read_table(file).items() if k not in ("algorithm", "environment")}))


def read_table(file: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        ValueError: the file does not exist or is not TOML.
    """
    try:
        return tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"config is {str(file)!r}, but it cannot be read as TOML: {error}") from error


def option(args: Sequence[str], name: str) -> str | None:
    """Return the last value given to an option that must be known before all of them are parsed."""
    value = None
    for position, word in enumerate(args):
        if word == name and position + 1 < len(args):
            value = args[position + 1]
        if word.startswith(f"{name}="):
            value = word.partition("=")[2]
    return value


def to_toml(settings: Settings[Any], algorithm: str, environment: str) -> str:
    """Return the resolved settings as TOML; `None` is spelled by leaving the key out."""
    tables = asdict(settings)
    sections = {name: tables.pop(name) for name in ("env_options", "agent")}
    lines = [f"algorithm = {_toml(algorithm)}", f"environment = {_toml(environment)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in tables.items() if value is not None]
    for name, table in sections.items():
        if table:
            lines += [
                "",
                f"[{name}]",
                *(f"{key} = {_toml(value)}" for key, value in table.items() if value is not None),
            ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml(str(key))} = {_toml(entry)}' for key, entry in value.items())}}}"
        case _:
            return repr(value)


def _one_sentence(box: str, schema: Any) -> str:
    """Return tyro's boxed complaint as one sentence, with the nearest option where one is unknown."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│ ")
        if text.startswith(("──", "╰─")):
            break
        words.append(text)
    sentence = " ".join(words) or box.strip()
    if "nrecognized" in sentence:
        options = [word.strip(",") for word in sentence.split() if word.startswith("--")]
        known = _option_names(schema)
        for option in options:
            bare = option.split("=")[0]
            near = get_close_matches(bare, known, n=3, cutoff=0.5) or [name for name in known if bare[2:] in name][:3]
            if near:
                return f"{sentence}; the nearest known options are {', '.join(near)}"
    return _plain(sentence)


def _plain(sentence: str) -> str:
    """Return tyro's complaint about a value in the house's form: the argument, the value, what would be right."""
    not_a_number = re.match(
        r"Error parsing --(\S+): (invalid literal for int|could not convert string to float).*: (\S+)$", sentence
    )
    if not_a_number:
        name, problem, value = not_a_number.groups()
        kind = "an integer" if "int" in problem.split() else "a number"
        return f"{name.replace('-', '_')} is {value}, but must be {kind}"
    return re.sub(r"^Error parsing [A-Za-z]\w*: ", "", sentence)  # what a dataclass of ours says is a sentence already


def _option_names(schema: Any) -> list[str]:
    help_text = io.StringIO()
    with contextlib.redirect_stdout(help_text), contextlib.suppress(SystemExit):
        tyro.cli(schema, args=["--help"])
    words = help_text.getvalue().replace(",", " ").split()
    return sorted({word for word in words if word.startswith("--") and len(word) > 2})
