"""Tab completion for bash, zsh and fish: scripts with all commands, agents, environments, options and choices.

A script holds its data, so that completing costs no start of Python; it is written anew by `morl --install-completion`.
tyro can write completion scripts too: they complete options and subcommands, but neither AGENT and ENV nor run folders,
which stand without a flag.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from morl.experiment.commands import SCHEMAS, options_of_command
from morl.experiment.options import OptionHelp, options_of
from morl.utilities import UTILITIES

FILES = "(files)"
"""Stands for all paths in the table of values."""
NOTHING = "(nothing)"
"""Stands for a value that cannot be completed, such as a number."""
_SAFE = re.compile(r"[\w./:+,@%=-]+")
"""Words that need no quotes in any of the shells."""


@dataclass(frozen=True)
class Candidates:
    """Everything that can be completed.

    Attributes:
        words: context -> candidates. Contexts are "" (the first word), "agents", "envs", "list", and for options a
            command, such as "front", or "train" and an agent.
        values: "context flag" -> the values of the flag, `FILES` or `NOTHING`; switches are missing.
    """

    words: Mapping[str, tuple[str, ...]]
    values: Mapping[str, tuple[str, ...]]


def candidates() -> Candidates:
    """Return what there is to complete in this installation; agents are imported for their settings."""
    from morl.agents import AGENTS
    from morl.envs import specs

    words: dict[str, tuple[str, ...]] = {
        "": (*SCHEMAS, "--help", "--install-completion", "--version"),
        "agents": tuple(AGENTS),
        "envs": tuple(sorted(name for name in specs if _SAFE.fullmatch(name))),
        "list": ("agents", "configs", "envs"),
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
    values["evaluate --utility"] = tuple(UTILITIES)
    return Candidates(words, values)


def _values(one: OptionHelp) -> tuple[str, ...]:
    if one.takes_file:
        return (FILES,)
    return tuple(choice for choice in one.choices if _SAFE.fullmatch(choice)) or (NOTHING,)


# --- Scripts ----------------------------------------------------------------------------------------------------------

_HEAD = """# Completion of morl for {shell}. Written by: morl --install-completion {shell}
# Write it again after an upgrade of morl.
"""

_DATA = """
_morl_words() {{
    case "$1" in
{words}
    esac
}}

_morl_values() {{
    case "$1" in
{values}
    esac
}}

# Print the candidates for the last of the words of a command line; the first is morl.
_morl_candidates() {{
    local count=$# last previous context values
    eval "last=\\${{$count}}"
    eval "previous=\\${{$((count - 1))}}"
    if [ "$count" -eq 2 ]; then
        _morl_words ""
        return
    fi
    context="$2"
    if [ "$2" = train ] && [ "$count" -gt 3 ] && [ -n "$(_morl_words "train $3 --")" ]; then
        context="train $3"
    fi
    case "$previous" in
        --install-completion) context="" ;;
    esac
    case "$previous" in
        --*)
            values="$(_morl_values "$context $previous")"
            if [ -n "$values" ]; then
                printf '%s\\n' "$values"
                return
            fi ;;
    esac
    case "$last" in
        -*) _morl_words "$context --"; return ;;
    esac
    case "$2 $count" in
        "train 3") _morl_words agents ;;
        "train 4") _morl_words envs ;;
        "list 3") _morl_words list ;;
        "list 4") if [ "$3" = envs ]; then _morl_words envs; fi ;;
        train*) _morl_words "$context --" ;;
        resume*|evaluate*|front*|board*) printf '%s\\n' "{files}" ;;
    esac
}}
"""

_BASH = """
_morl() {
    local words current found
    IFS=' ' read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
    case "${COMP_LINE:0:COMP_POINT}" in
        *" ") words+=("") ;;
    esac
    current="${words[${#words[@]}-1]}"
    found="$(_morl_candidates "${words[@]}")"
    local IFS=$'\\n'
    if [ "$found" = "(files)" ]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current"))
    elif [ "$found" = "(nothing)" ]; then
        COMPREPLY=()
    else
        COMPREPLY=($(IFS=$' \\n'; compgen -W "$found" -- "$current"))
    fi
}

complete -F _morl morl
"""

_ZSH = """
_morl() {
    local found
    found="$(_morl_candidates "${(@)words[1,CURRENT]}")"
    if [[ "$found" == "(files)" ]]; then
        _files
    elif [[ -n "$found" && "$found" != "(nothing)" ]]; then
        compadd -- ${=found}
    fi
}

_morl "$@"
"""

_FISH = """
function __morl_words
    switch "$argv[1]"
{words}
    end
end

function __morl_values
    switch "$argv[1]"
{values}
    end
end

function __morl_print
    if test "$argv[1]" = "{files}"
        __fish_complete_path (commandline -ct)
    else if test "$argv[1]" != "{nothing}"
        string split -n " " -- $argv
    end
end

function __morl_candidates
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l count (math (count $words) + 1)
    set -l previous $words[-1]
    if test $count -eq 2
        __morl_print (__morl_words "")
        return
    end
    set -l context $words[2]
    if test "$words[2]" = train; and test $count -gt 3
        set -l own (__morl_words "train $words[3] --")
        if test -n "$own"
            set context "train $words[3]"
        end
    end
    if test "$previous" = --install-completion
        set context ""
    end
    if string match -q -- "--*" "$previous"
        set -l values (__morl_values "$context $previous")
        if test -n "$values"
            __morl_print $values
            return
        end
    end
    if string match -q -- "-*" "$last"
        __morl_print (__morl_words "$context --")
        return
    end
    switch "$words[2] $count"
        case "train 3"
            __morl_print (__morl_words agents)
        case "train 4"
            __morl_print (__morl_words envs)
        case "list 3"
            __morl_print (__morl_words list)
        case "list 4"
            if test "$words[3]" = envs
                __morl_print (__morl_words envs)
            end
        case "train*"
            __morl_print (__morl_words "$context --")
        case "resume*" "evaluate*" "front*" "board*"
            __morl_print "{files}"
    end
end

complete --command morl --no-files --arguments "(__morl_candidates)"
"""


def bash_script(found: Candidates) -> str:
    """Return the script for bash."""
    return _HEAD.format(shell="bash") + _posix_data(found) + _BASH


def zsh_script(found: Candidates) -> str:
    """Return the script for zsh."""
    return "#compdef morl\n" + _HEAD.format(shell="zsh") + _posix_data(found) + _ZSH


def fish_script(found: Candidates) -> str:
    """Return the script for fish."""
    words = _cases(found.words, "        case {keys}\n            echo {words}", " ")
    values = _cases(found.values, "        case {keys}\n            echo {words}", " ")
    body = _FISH.format(words=words, values=values, files=FILES, nothing=NOTHING)
    return _HEAD.format(shell="fish") + body


def _posix_data(found: Candidates) -> str:
    words = _cases(found.words, "        {keys}) printf '%s\\n' {words} ;;", "|")
    values = _cases(found.values, "        {keys}) printf '%s\\n' {words} ;;", "|")
    return _DATA.format(words=words, values=values, files=FILES)


def _cases(table: Mapping[str, Iterable[str]], line: str, separator: str) -> str:
    """Return the branches of a case or switch statement; keys with the same words share one."""
    keys: dict[str, list[str]] = {}
    for key, words in table.items():
        keys.setdefault(f'"{" ".join(words)}"', []).append(f'"{key}"')
    return "\n".join(line.format(keys=separator.join(names), words=words) for words, names in keys.items())


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
