"""Tab completion for bash, zsh and fish: scripts with all commands, agents, environments, options and choices.

A script holds its data, so that completing costs no start of Python; it is written anew by `morl --install-completion`.
tyro can write completion scripts too: they complete options and subcommands, but neither AGENT and ENV nor run folders,
which stand without a flag.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from morl.experiment.commands import SCHEMAS, options_of_command
from morl.experiment.completion_scripts import FILES, NOTHING, Candidates, bash_script, fish_script, zsh_script
from morl.experiment.options import OptionHelp, options_of
from morl.utilities import UTILITIES

_SAFE = re.compile(r"[\w./:+,@%=-]+")
"""Words that need no quotes in any of the shells."""


def candidates() -> Candidates:
    """Return what there is to complete in this installation; agents are imported for their settings."""
    from morl.agents import AGENTS, all_agents
    from morl.envs import load_plugins, specs

    load_plugins()
    words: dict[str, tuple[str, ...]] = {
        "": (*SCHEMAS, "--help", "--install-completion", "--version"),
        "agents": tuple(all_agents()),
        "envs": tuple(sorted(name for name in specs if _SAFE.fullmatch(name))),
        "list": ("agents", "configs", "envs"),
        "study": ("status", "table"),
    }
    values: dict[str, tuple[str, ...]] = {" --install-completion": tuple(SHELLS)}
    contexts = {name: options_of_command(name) for name in SCHEMAS}
    for agent, location in AGENTS.items():
        preset: dict[str, None] = {}
        own: dict[str, OptionHelp] = {}
        for place in [location] if isinstance(location, str) else location.values():
            module, _, name = place.partition(":")
            config_class = getattr(import_module(module), name).config_class
            own |= {one.flag: one for one in options_of(config_class, "agent.")}
            preset |= dict.fromkeys(getattr(config_class, "PRESETS", {}))
        contexts[f"train {agent}"] = [*contexts["train"], *own.values()]
        values[f"train {agent} --agent.preset"] = tuple(preset)
    for context, options in contexts.items():
        spelled = [one.flag for one in options] + (["--agent.preset"] if " " in context else [])
        words[f"{context} --"] = (*sorted(spelled), "--help")
        values |= {f"{context} {one.flag}": _values(one) for one in options if not one.is_switch}
    values["evaluate --utility"] = values["export --utility"] = tuple(UTILITIES)
    return Candidates(words, values)


def _values(one: OptionHelp) -> tuple[str, ...]:
    if one.takes_file:
        return (FILES,)
    return tuple(choice for choice in one.choices if _SAFE.fullmatch(choice)) or (NOTHING,)


# --- Installing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shell:
    """A shell that completes.

    Attributes:
        script: what its script says.
        file: where it looks for the script.
        hint: what else a user may have to do; {file} and {folder} stand for the place.
    """

    script: Callable[[Candidates], str]
    file: Callable[[], Path]
    hint: str


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _bash_file() -> Path:
    folder = os.environ.get("BASH_COMPLETION_USER_DIR") or _data_home() / "bash-completion"
    return Path(folder) / "completions" / "morl"


def _zsh_file() -> Path:
    return _data_home() / "zsh" / "site-functions" / "_morl"


def _fish_file() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "fish" / "completions" / "morl.fish"


SHELLS: dict[str, Shell] = {
    "bash": Shell(
        bash_script,
        _bash_file,
        "New shells load it through the package bash-completion; without that package add this line to ~/.bashrc:\n"
        "    source {file}",
    ),
    "zsh": Shell(
        zsh_script,
        _zsh_file,
        "zsh looks there once ~/.zshrc has this line (it was not edited):\n"
        "    fpath=({folder} $fpath); autoload -Uz compinit && compinit",
    ),
    "fish": Shell(fish_script, _fish_file, "New shells load it by themselves."),
}
"""Shells by name."""


def install(shell: str | None = None) -> str:
    """Write the completion script of a shell where that shell looks for it; no other file is changed.

    Args:
        shell: one of `SHELLS`; default: the user's, as the variable SHELL names it.

    Returns:
        What was written where, and what is left to do.

    Raises:
        ValueError: the shell is unknown.
        OSError: the file cannot be written.
    """
    name = Path(os.environ.get("SHELL", "")).name if shell is None else shell
    if name not in SHELLS:
        how = "--install-completion is given no shell, and SHELL names" if shell is None else "shell is"
        raise ValueError(f"{how} {name!r}, but must be one of {', '.join(SHELLS)}")
    chosen = SHELLS[name]
    file = chosen.file()
    script = chosen.script(candidates())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(script, encoding="utf-8")
    return f"completion for {name} written to {file}\n{chosen.hint.format(file=file, folder=file.parent)}"
