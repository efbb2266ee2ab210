"""Choose a policy of a run by comparing outcomes: `run.choose`, `morl choose`, and the session in the run folder."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict, Unpack

import numpy as np

from morl.board.files import read_whole
from morl.elicitation import Answer, Session, SessionRecord, SessionSettings, parse_session
from morl.experiment.files import write_text
from morl.output_files import check_output_file
from morl.protocols import FloatArray
from morl.run_folder import CHOICE
from morl.tables import Column, ShownTable, number, stdout_console, vector, visible

if TYPE_CHECKING:
    from morl.experiment.front import Front

AnswerFn = Callable[[FloatArray, FloatArray], str | None]
"""(left, right) returns [objective] -> "left", "right", "equal", "neither", "undo"; None stops, to go on later."""
KEYS = {"l": "left", "r": "right", "e": "equal", "n": "neither", "u": "undo"}
QUIT = "q"
START_OVER = "start over with --restart, in Python restart=True"
END_OF_INPUT = "\x04"
"""The key Ctrl-D."""
SHORTER = 3
"""Digits of the weights of a preference that is typed again; more where fewer would choose another policy."""
LONGER = 8


class ChoosesRows(Protocol):
    """A run, as far as choosing goes."""

    directory: Path
    front: "Front"

    def best_row(self, preference: Sequence[float], utility: str = "linear") -> int:
        """Return the row of the front that has the highest utility for a preference."""
        ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a session of comparisons has come to.

    Attributes:
        row: the recommended row of the front.
        policy_id: its policy.
        returns: [objective] its reported returns.
        probability_best: that no other policy of the front is better.
        probability_within: that no other policy is better by more than the limit.
        expected_regret: value lost in the mean, a share of the utility's range over the front.
        finished: whether the session has come to its end.
        questions: how many have been answered.
        utility: the kind of utility by which it is best: "linear", "tchebycheff" or "requirements".
        preference: [objective] weights by which `run.policy` chooses the same row with this utility; None where
            no weights do, as with requirements.
        minimum: [objective] required returns; minus infinity requires nothing.
        line: the line of Python that loads the policy.
    """

    row: int
    policy_id: int
    returns: FloatArray
    probability_best: float
    probability_within: float
    expected_regret: float
    finished: bool
    questions: int
    utility: str
    preference: tuple[float, ...] | None
    minimum: FloatArray
    line: str


class SessionOptions(TypedDict, total=False):
    """Options of a session over the front of a run.

    Attributes:
        file: the session file; default: `choose.json` in the run folder.
        limit: the session ends when the expected regret is under this share of the utility's range; default: as saved,
            or 0.01.
        seed: of a new session; default: as saved, or 0.
        restart: whether to forget a saved session; its file is replaced with the first answer.
    """

    file: str | Path | None
    limit: float | None
    seed: int | None
    restart: bool


class Chooser:
    """A session over the front of a run, saved after every answer.

    Policies are compared by the returns that `run.policy` chooses by, and only those take part that break the user's
    constraints least, or not at all.

    Args:
        run: the run.
        options: what `SessionOptions` says.

    Raises:
        ValueError: the front is empty, the file is damaged or of other objectives, or an option is wrong.
    """

    def __init__(self, run: ChoosesRows, **options: Unpack[SessionOptions]) -> None:
        self._run = run
        file = options.get("file")
        self.file = run.directory / CHOICE if file is None else check_output_file("file", file)
        front = run.front
        if not len(front.points):
            raise ValueError(f"the front of {run.directory} has no points: there is nothing to choose from")
        settings = SessionSettings()
        answers: tuple[Answer, ...] = ()
        if not options.get("restart") and os.path.lexists(self.file):
            saved = self._read()
            settings = saved.settings
            answers = saved.answers
        limit = options.get("limit")
        seed = options.get("seed")
        if answers and seed not in (None, settings.seed):
            raise ValueError(f"seed is {seed}, but {self.file} was begun with {settings.seed}: {START_OVER}")
        settings = replace(settings, limit=settings.limit if limit is None else limit)
        settings = replace(settings, seed=settings.seed if seed is None else seed)
        rows = np.flatnonzero(front.violations == front.violations.min())
        self.session = Session(front.choice_points, front.objectives, rows=rows, settings=settings, answers=answers)

    def _read(self) -> SessionRecord:
        try:
            record = parse_session(read_whole(self.file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"{self.file} cannot be read: {reason}; {START_OVER}") from None
        if record.objectives != self._run.front.objectives:
            raise ValueError(
                f"{self.file} compares {', '.join(record.objectives)}, but the run has"
                f" {', '.join(self._run.front.objectives)}: {START_OVER}"
            )
        return record

    def answer(self, answer: str) -> None:
        """Take an answer, "undo" among them, and save the session.

        Args:
            answer: "left", "right", "equal", "neither" or "undo".

        Raises:
            ValueError: there is no such answer, or nothing to undo.
            OSError: the session cannot be saved.
        """
        if answer == "undo":
            self.session.undo()
        else:
            self.session.answer(answer)
        write_text(self.file, self.session.record.to_text())

    def standard_errors(self, row: int) -> FloatArray:
        """Return the standard errors [objective] of the reported returns of a row."""
        errors: FloatArray = self._run.front.standard_errors[row]
        return errors

    @property
    def choice(self) -> Choice:
        """Return what the answers so far recommend."""
        front = self._run.front
        found = self.session.recommendation
        own = self.session.preference
        preference = None if own.utility == "requirements" else self._typed(own.weights, own.utility, found.row)
        return Choice(
            row=found.row,
            policy_id=int(front.policy_ids[found.row]),
            returns=front.points[found.row],
            probability_best=found.probability_best,
            probability_within=found.probability_within,
            expected_regret=found.expected_regret,
            finished=self.session.finished,
            questions=len(self.session.answers),
            utility=own.utility,
            preference=preference,
            minimum=own.minimum,
            line=self._line(found.row, preference, own.utility),
        )

    def _typed(self, weights: FloatArray, utility: str, row: int) -> tuple[float, ...] | None:
        """Return weights as `run.policy` takes them by default, with few digits; None where they choose another row.

        Args:
            weights: [objective] of returns in the environment's units.
            utility: the name of the utility.
            row: the row that they have to choose.
        """
        front = self._run.front
        scaled = weights * (front.scales if front.normalizes else 1.0)
        scaled = scaled / scaled.sum()
        for digits in range(SHORTER, LONGER + 1):
            typed = tuple(float(f"{weight:.{digits}g}") for weight in scaled.tolist())
            if self._run.best_row(typed, utility) == row:
                return typed
        return None

    def _line(self, row: int, preference: tuple[float, ...] | None, utility: str) -> str:
        arguments = f"row={row}"
        if preference is not None:
            given = ", ".join(f"{weight:g}" for weight in preference)
            arguments = f"[{given}]" if utility == "linear" else f"[{given}], utility={utility!r}"
        return f"policy = morl.load({str(self._run.directory)!r}).policy({arguments})"


def choose(chooser: Chooser, answer: AnswerFn | None = None) -> Choice:
    """Return what a session comes to, asking until it ends or the answer is None.

    Args:
        chooser: the session.
        answer: answers each question; default: the user, in the terminal.

    Raises:
        ValueError: an answer is wrong, or nobody can be asked because standard input is closed.
    """
    ask = _ask_in_terminal(chooser) if answer is None else answer
    session = chooser.session
    while (question := session.question) is not None:
        given = ask(session.points[question.left], session.points[question.right])
        if given is None:
            break
        chooser.answer(given)
    return chooser.choice


# --- In a terminal ----------------------------------------------------------------------------------------------------


def _ask_in_terminal(chooser: Chooser) -> AnswerFn:
    """Return a function that shows a question and waits for a key."""
    session = chooser.session

    def ask(left: FloatArray, right: FloatArray) -> str | None:
        console = stdout_console()
        console.print(question_table(chooser, left, right))
        while True:
            key = _read_key("l left, r right, e equal, n neither is acceptable, u undo, q stop here: ")
            if key == QUIT:
                return None
            if key in KEYS and (key != "u" or session.answers):
                return KEYS[key]
            reason = "there is no answer to undo yet" if key == "u" else f"{visible(key)!r} is none of l r e n u q"
            console.print(reason, markup=False, highlight=False)

    return ask


def question_table(chooser: Chooser, left: FloatArray, right: FloatArray) -> ShownTable:
    """Return a question as a table: both outcomes, and what the right one has more of each objective.

    Args:
        chooser: the session.
        left: [objective] returns.
        right: [objective] returns.
    """
    session = chooser.session
    count = len(session.answers)
    found = session.recommendation
    differences = tuple(
        "equal" if a == b else f"{'+' if b > a else ''}{number(b - a)}" for a, b in zip(left, right, strict=True)
    )
    standing = (
        f"recommended so far: row {found.row}, {vector(session.points[found.row])}; within"
        f" {percent(session.settings.limit)} of the best with probability {percent(found.probability_within)};"
        f" expected regret {percent(found.expected_regret)}"
    )
    return ShownTable(
        title=f"Question {count + 1}: which outcome is better?",
        columns=(
            Column(title="objective", cells=session.objectives, key=True, left=True),
            Column(title="left", cells=tuple(map(number, left.tolist()))),
            Column(title="right", cells=tuple(map(number, right.tolist()))),
            Column(title="right - left", cells=differences, dropped=1),
        ),
        notes=(standing,) if count else (),
    )


def show_choice(chooser: Chooser) -> None:
    """Print what a session has come to, and the line that loads the policy."""
    choice = chooser.choice
    console = stdout_console()
    console.print(choice_table(chooser, choice))
    console.print(visible(choice.line), markup=False, highlight=False, soft_wrap=True)


def choice_table(chooser: Chooser, choice: Choice) -> ShownTable:
    """Return the recommended policy of a session as a table.

    Args:
        chooser: the session.
        choice: what it has come to.
    """
    session = chooser.session
    errors = chooser.standard_errors(choice.row)
    ending = "recommended" if choice.finished else "recommended so far"
    notes = [
        f"the best with probability {percent(choice.probability_best)}, within {percent(session.settings.limit)} of the"
        f" best with probability {percent(choice.probability_within)};"
        f" expected regret {percent(choice.expected_regret)}",
        *_described_utility(choice, session.objectives),
    ]
    return ShownTable(
        title=f"After {choice.questions} answers, {ending}: row {choice.row}, policy {choice.policy_id}",
        columns=(
            Column(title="objective", cells=session.objectives, key=True, left=True),
            Column(title="return", cells=tuple(map(number, choice.returns.tolist()))),
            Column(title="standard error", cells=tuple(map(number, errors.tolist())), dropped=1),
        ),
        notes=tuple(notes),
    )


def _described_utility(choice: Choice, objectives: Sequence[str]) -> Iterator[str]:
    if choice.preference is not None:
        yield f"preference {vector(choice.preference)}, utility {choice.utility}"
    required = [
        f"{name} at least {number(least)}"
        for name, least in zip(objectives, choice.minimum.tolist(), strict=True)
        if np.isfinite(least)
    ]
    if required:
        yield f"minimum requirements that your answers imply: {', '.join(required)}"


def percent(share: float) -> str:
    """Return a share in percent: whole numbers, with a decimal below ten."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _read_key(prompt: str) -> str:
    """Return the key that the user presses, in lower case; the first letter of a line where there is no terminal.

    Raises:
        ValueError: standard input has come to its end.
        KeyboardInterrupt: Ctrl-C or Ctrl-D.
    """
    with _single_keys() as immediate:
        print(prompt, end="", flush=True)  # noqa: T201
        text = sys.stdin.read(1) if immediate else sys.stdin.readline()
    if immediate:
        print(text if text.isprintable() else "", flush=True)  # noqa: T201
        if text in ("", END_OF_INPUT):
            raise KeyboardInterrupt
        return text.lower()
    if not text:
        print(flush=True)  # noqa: T201
        raise ValueError("there are no more answers on standard input: the session is saved up to here")
    return text.strip()[:1].lower()


@contextlib.contextmanager
def _single_keys() -> Iterator[bool]:
    """Let keys arrive without Enter while the block runs; False where standard input is no terminal that can do so."""
    try:
        import termios
        import tty
    except ImportError:  # not on this system
        yield False
        return
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, ValueError, termios.error):
        yield False
        return
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)  # keys that were pressed early are kept
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
