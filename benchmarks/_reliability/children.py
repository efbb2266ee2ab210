"""Child processes: every case runs in one, forked from a process that has imported everything, and none may hang."""

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAISED = 70
"""Exit code of a child whose function raised: what it raised is at the end of its standard error."""
MEMORY = 12 * 2**30
"""Bytes of address space that a child may have: a decompression bomb ends the child, not the machine."""


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        code: its exit code; minus the signal that ended it; None where it hung and was killed.
        answer: what the function returned, as JSON carries it; None where it did not return.
        out: standard output.
        err: standard error.
        peak: the most memory it had, in bytes.
    """

    code: int | None
    answer: Any
    out: str
    err: str
    peak: int

    @property
    def hung(self) -> bool:
        """Return whether it had to be killed because its time was over."""
        return self.code is None

    def last_words(self) -> str:
        """Return the last line of standard error, or what else is known of the end."""
        if self.hung:
            return "hung"
        lines = self.err.strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self.code}"


def in_child(
    function: Callable[[], object], folder: Path, timeout: float = 90.0, kill_after: float | None = None
) -> Outcome:
    """Call a function in a child process and return how that ended.

    Args:
        function: what it returns must be JSON.
        folder: where the child's output goes.
        timeout: seconds after which it hangs.
        kill_after: seconds after which it is killed on purpose, with SIGKILL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"child-{name}" for name in ("out", "err", "answer")}
    for file in files.values():
        file.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run(function, files)
    code, peak = _wait(child, timeout, kill_after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # workers of the environments
    texts = {name: file.read_text(errors="replace") if file.exists() else "" for name, file in files.items()}
    answer = json.loads(texts["answer"]) if texts["answer"] and code == 0 else None
    return Outcome(code, answer, texts["out"], texts["err"], peak)


def _run(function: Callable[[], object], files: dict[str, Path]) -> None:
    """Be the child: never returns."""
    code = RAISED
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for name, stream in (("out", 1), ("err", 2)):
            os.dup2(os.open(files[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        answer = function()
        files["answer"].write_text(json.dumps(answer))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(child: int, timeout: float, kill_after: float | None) -> tuple[int | None, int]:
    """Wait for a child; return its exit code (None: it hung) and the most memory that it had."""
    start = time.monotonic()
    killed = hung = False
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return (None if hung else os.waitstatus_to_exitcode(status)), usage.ru_maxrss * 1024
        elapsed = time.monotonic() - start
        if kill_after is not None and elapsed >= kill_after and not killed:
            os.kill(child, signal.SIGKILL)
            killed = True
        if elapsed >= timeout and not hung:
            os.kill(child, signal.SIGKILL)
            hung = True
        time.sleep(0.002)


@dataclass(frozen=True)
class Said:
    """What a command of morl answered: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def morl_command(words: Sequence[object]) -> int:
    """Run a command of morl in this (child) process; return its exit code. Whatever it raises is a traceback."""
    from morl.experiment.cli import main

    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return 0


def command(folder: Path, words: Sequence[object], timeout: float = 90.0) -> Outcome:
    """Run a command of morl in a child process."""
    return in_child(lambda: sys.exit(morl_command(words)), folder, timeout)


def complaints_of(outcome: Outcome, what: str, may_refuse: bool = True) -> list[str]:
    """Return what is wrong with how a command ended: only success, or one sentence and exit code 2, is right."""
    if outcome.hung:
        return [f"{what} hung"]
    if "Traceback" in outcome.err:
        return [f"{what}: traceback, {outcome.last_words()}"]
    if outcome.code == 0:
        return []
    if outcome.code != 2 or not may_refuse:
        return [f"{what}: exit code {outcome.code}, {outcome.last_words()}"]
    sentences = [line for line in outcome.err.splitlines() if line.startswith("morl: ")]
    return [] if len(sentences) == 1 else [f"{what}: exit code 2 without its one sentence: {outcome.err[-200:]!r}"]
