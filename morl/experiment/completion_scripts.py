"""Completion scripts for bash, zsh and fish: data as case statements, and a few lines that choose among them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FILES = "(files)"
"""Stands for all paths in the table of values."""
NOTHING = "(nothing)"
"""Stands for a value that cannot be completed, such as a number."""


@dataclass(frozen=True)
class Candidates:
    """Everything that can be completed.

    Attributes:
        words: context -> candidates. Contexts are "" (the first word), "agents", "envs", "list", "study" (beside
            files), and for options a command, such as "front", or "train" and an agent.
        values: "context flag" -> the values of the flag, `FILES` or `NOTHING`; switches are missing.
    """

    words: Mapping[str, tuple[str, ...]]
    values: Mapping[str, tuple[str, ...]]


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
        "study 3") printf '%s\\n' "{files}"; _morl_words study ;;
        resume*|evaluate*|export*|front*|study*|tune*|board*) printf '%s\\n' "{files}" ;;
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
    if [ "${found:0:7}" = "(files)" ]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current") $(IFS=$' \\n'; compgen -W "${found:7}" -- "$current"))
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
    if [[ "$found" == "(files)"* ]]; then
        [[ "$found" == "(files)" ]] || compadd -- ${=found#"(files)"}
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
        case "study 3"
            __morl_print (__morl_words study)
            __morl_print "{files}"
        case "resume*" "evaluate*" "export*" "front*" "study*" "tune*" "board*"
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
