"""One run folder as the page shows it: its front, its history, and the faults of its files."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from morl.board.evaluations import DAMAGE, Evaluations, parse_front
from morl.board.files import divergence_of, open_regular, read_whole, version_of
from morl.board.films import Films
from morl.board.records import (
    MOST_OBJECTIVES,
    ReportedFront,
    Settings,
    flat_config,
    parse_reported_front,
    setting_of,
)
from morl.board.text import printable, whole_number
from morl.elicitation import SessionRecord, parse_session
from morl.preferences import scales_of

_LOGGER = logging.getLogger("morl")

MOST_PIECES = 16
"""Pieces of fronts.jsonl, of 32 MB each, that are read for a page."""
LAST_LINES = 4 * 2**20
"""Bytes at the end of fronts.jsonl in which its last line is looked for when there is no front.json."""


@dataclass
class RunFolder:
    """A run: its name on the page and its folder."""

    name: str
    directory: Path
    reported: ReportedFront | None = None
    loadable: bool = False
    """Whether the points are those of front.json, so that `morl.load(run).policy(...)` reaches their policies."""
    front_damage: str = ""
    """Why front.json, which is there, cannot be read; empty if it can."""
    config: Settings | None = None
    hypervolumes: dict[tuple[float, ...], float] = field(default_factory=dict)
    """Reference point -> hypervolume of the reported front, where a common reference point is not the run's own."""
    _notes: tuple[str, ...] = ()
    _fault: str = ""
    _version: str = ""
    _session: tuple[SessionRecord | None, str] = (None, "")
    _session_version: str = ""

    def __post_init__(self) -> None:
        """Open the history and the recordings, without reading them."""
        self.evaluations = Evaluations(self.directory)
        self.films = Films(self.directory)

    @property
    def version(self) -> str:
        """Return a text that changes whenever the reported front does."""
        return f"{self._version}|{version_of(self.directory / 'choose.json')}"

    @property
    def session(self) -> SessionRecord | None:
        """Return the user's comparisons of outcomes, `choose.json`; None where there are none."""
        return self._read_session()[0]

    def _read_session(self) -> tuple[SessionRecord | None, str]:
        """Return the session and what is wrong with its file; read again if it changed."""
        version = version_of(self.directory / "choose.json")
        if version != self._session_version:
            self._session_version = version
            try:
                self._session = (
                    (parse_session(read_whole(self.directory / "choose.json")), "") if version else (None, "")
                )
            except (OSError, ValueError) as error:
                self._session = (None, _sentence("choose.json", error))
        return self._session

    def history_version(self) -> str:
        """Return a text that changes whenever evaluations are added or published."""
        return f"{version_of(self.directory / 'fronts.jsonl')}|{self.evaluations.published_steps}"

    def history_read(self) -> str:
        """Return `history_version` once all of it has been read; something else while there is more."""
        return self.history_version() if self.evaluations.complete else f"{self.evaluations.unread_bytes} bytes left"

    @property
    def notes(self) -> list[str]:
        """Return the faults of the folder, one sentence each."""
        fault = [self._fault] if self._fault else []
        session = self._read_session()[1]
        notes = [*self._notes, *([session] if session else []), *self.evaluations.notes()]
        return [*fault, *notes, *map(printable, self.films.notes)]

    @property
    def setting(self) -> Settings:
        """Return the settings that this run shares with its other seeds."""
        if self.config is not None:
            return setting_of(self.config)
        return {"folder": printable(self.directory.parent.as_posix())}  # all that is left to tell settings apart

    def blame(self, error: Exception) -> None:
        """Note that this run cannot be shown: what its files hold must not hide the other runs."""
        _LOGGER.warning("run %s cannot be shown", self.directory, exc_info=error)
        self._fault = f"cannot be shown: {type(error).__name__}: {printable(error)}"

    def refresh(self) -> None:
        """Read config.toml, front.json and the index of the videos again if they changed."""
        self._refresh_front()
        self.films.refresh(self.reported if self.loadable else None, self._version)

    def _refresh_front(self) -> None:
        names = ("config.toml", "front.json", "divergence.txt")
        version = "|".join(version_of(self.directory / name) for name in names)
        if not version_of(self.directory / "front.json"):
            version += "|" + self.history_version()  # what is shown then
        if version == self._version:
            return
        self._version = version
        self._fault = ""
        self.reported = None
        self.loadable = False
        self.front_damage = ""
        self.hypervolumes = {}
        notes: list[str] = []
        self.config = self._read_config(notes)
        self.reported, self.loadable = self._read_front(notes)
        divergence = divergence_of(self.directory)
        if divergence:
            before = "" if self.reported is None else "; the front was measured before"
            notes.insert(0, f"{divergence}{before}")
        if self.reported is not None:
            self.evaluations.objectives = len(self.reported.objectives)
            self.evaluations.published_steps = self.reported.counts.get("training_steps") if self.loadable else None
            notes += self.reported.notes
        self._notes = tuple(notes)

    def refresh_history(self) -> None:
        """Read the new lines of fronts.jsonl and metrics.jsonl."""
        self.evaluations.refresh()

    def read_history_to_its_end(self) -> None:
        """Read fronts.jsonl piece by piece, until nothing more comes, or enough has."""
        left = None
        for _ in range(MOST_PIECES):
            if left is not None and (self.evaluations.complete or self.evaluations.unread_bytes == left):
                break
            left = self.evaluations.unread_bytes
            self.refresh_history()

    def _read_config(self, notes: list[str]) -> Settings | None:
        try:
            return flat_config(read_whole(self.directory / "config.toml"))
        except FileNotFoundError:
            notes.append("config.toml is missing")
        except (OSError, ValueError) as error:
            notes.append(_sentence("config.toml", error))
        return None

    def _read_front(self, notes: list[str]) -> tuple[ReportedFront | None, bool]:
        file = self.directory / "front.json"
        try:
            return parse_reported_front(read_whole(file)), True
        except FileNotFoundError:
            reason = "no evaluation yet"
        except (OSError, ValueError) as error:
            reason = self.front_damage = _sentence("front.json", error)
        last = self._last_evaluation()
        if last is None:
            notes.append(reason)
            return None, False
        if reason == "no evaluation yet":
            reason = "front.json is missing"
        notes.append(f"{reason}; shown is the last evaluation in fronts.jsonl")
        return last, False

    def _last_evaluation(self) -> ReportedFront | None:
        """Return the last whole line of fronts.jsonl, described as far as config.toml can."""
        try:
            with open_regular(self.directory / "fronts.jsonl") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_LINES))
                lines = file.read(LAST_LINES).split(b"\n")[:-1]
        except OSError:
            return None
        for line in reversed(lines):
            try:
                return self._describe(line)
            except DAMAGE:
                continue
        return None

    def _describe(self, line: bytes) -> ReportedFront:
        step, points, indicators = parse_front(line)
        if not len(points) or not 2 <= points.shape[1] <= MOST_OBJECTIVES:
            raise ValueError(f"points must be at least one, of 2 to {MOST_OBJECTIVES} objectives")
        config = self.config or {}
        env = printable(config.get("env", "unknown environment")).rpartition(":")[2]
        objectives = _objectives(env, points.shape[1])
        return ReportedFront(
            agent=printable(config.get("agent_name", "unknown agent")),
            env=env,
            env_options={key[12:]: value for key, value in config.items() if key.startswith("env_options.")},
            seed=whole_number(config.get("seed")),
            objectives=objectives,
            discount=_discount(config.get("discount"), env),
            reference_point=None,
            points=points,
            rows=np.arange(len(points)),
            preferences=np.full(points.shape, np.nan),
            policy_ids=np.full(len(points), -1),
            indicators=indicators,
            counts={"training_steps": float(step)},
            standard_errors=np.full(points.shape, np.nan),
            choice_points=points,
            violations=np.zeros(len(points)),
            units=np.ones(points.shape[1]),
            scales=scales_of(points, None),
        )


def _objectives(env: str, count: int) -> tuple[str, ...]:
    from morl.envs import specs

    known = specs[env].objectives if env in specs else ()
    return known if len(known) == count else tuple(f"objective_{number}" for number in range(count))


def _discount(setting: object, env: str) -> float:
    from morl.envs import specs

    if isinstance(setting, int | float) and 0.0 <= setting <= 1.0:
        return float(setting)
    return specs[env].discount if env in specs else 0.99


def _sentence(name: str, error: Exception) -> str:
    text = printable(" ".join(str(getattr(error, "strerror", None) or error).split()))
    return text if text.startswith(name) else f"{name} cannot be read: {text}"
