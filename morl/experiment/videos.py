"""Recording policies: videos (.mp4, .gif), thumbnails, a contact sheet, and their index in the run folder.

A video is written under another name and renamed when it is whole, and the index is replaced after that: a recording
that is killed leaves nothing that looks like a video.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from morl.acting import Policy, PolicyBank
from morl.envs.core.types import EnvBuilder, EnvOption, Pixels
from morl.experiment.files import (
    PARTIAL,
    appearing_whole,
    make_folder,
    refuse_special,
    remove,
    write_text,
    write_whole,
)
from morl.experiment.messages import spoken
from morl.experiment.ownership import locked
from morl.experiment.rendering import MOST_PICTURES_A_SECOND, EpisodePlayer, Moment, captioned, number_text
from morl.experiment.settings import whole
from morl.experiment.video_files import (
    KEY_PICTURES,
    Gif,
    KeyPictures,
    Mp4,
    VideoWriter,
    contact_sheet,
    imageio_ffmpeg,
    png_bytes,
    usual_ending,
)
from morl.output_files import check_output_file
from morl.protocols import FloatArray
from morl.recordings import INDEX, VIDEO_ENDINGS, Recording, VideoIndex, parse_index, videos_folder

FASTEST = 100_000
"""Steps that may pass in a second of a video."""
LAST_PICTURE_SECONDS = 1.0
"""How long the end of an episode stands still."""
_LOGGER = logging.getLogger("morl")


MOST_RECORDED = 200
"""Policies that one call records."""


class FrontOfRun(Protocol):
    """What recording reads of a front."""

    @property
    def points(self) -> FloatArray:
        """Return the returns [n, objective]."""
        ...

    @property
    def objectives(self) -> tuple[str, ...]:
        """Return the names of the objectives."""
        ...

    @property
    def discount(self) -> float:
        """Return the discount of the returns."""
        ...


class RecordedRun(Protocol):
    """A run as far as recording needs it."""

    directory: Path

    @property
    def front(self) -> FrontOfRun:
        """Return the front."""
        ...

    def env_to_build(self) -> tuple[EnvBuilder, Mapping[str, EnvOption]]:
        """Return the environment to build and the arguments of its constructor."""
        ...

    def policy(
        self, preference: Sequence[float] | None = None, *, row: int | None = None, conditioned: bool = False
    ) -> Policy:
        """Return a policy."""
        ...

    def best_row(self, preference: Sequence[float]) -> int:
        """Return the row of the front that has the highest utility for a preference."""
        ...

    def policy_sha256(self, policy_id: int) -> str:
        """Return the SHA-256 of a policy's file."""
        ...


class Chosen(NamedTuple):
    """Which policies are recorded: exactly one of the first three."""

    preference: Sequence[float] | None = None
    row: int | None = None
    policies: int | None = None
    """This many, spread evenly over the front."""
    conditioned: bool = False
    """Condition the network on the preference itself."""


class Subject(NamedTuple):
    """A policy to record."""

    policy: Policy
    row: int | None
    """Of the front; None for a network conditioned on another preference."""
    sha256: str
    """Of the policy's file."""


def _tell_nobody(recording: Recording) -> None:
    pass


@dataclass(frozen=True)
class RecordOptions:
    """How policies are recorded.

    Attributes:
        episodes: of each policy, one after the other in its video.
        seed: of the first episode; the next ones have the next numbers.
        steps_per_second: how many steps pass in a second of the video; None: as the environment says.
        tell: called with each recording that is done.

    Raises:
        ValueError: a number that does not fit.
    """

    episodes: int = 1
    seed: int = 0
    steps_per_second: float | None = None
    tell: Callable[[Recording], None] = _tell_nobody

    def __post_init__(self) -> None:
        """Check the numbers."""
        whole("episodes", self.episodes, 1)
        whole("seed", self.seed, 0)
        if self.steps_per_second is not None and not 0.0 < self.steps_per_second <= FASTEST:
            name = spoken("--steps-per-second", "steps_per_second")
            raise ValueError(f"{name} is {self.steps_per_second}, but must be greater than 0 and at most {FASTEST:,}")


@dataclass(frozen=True)
class Recorded:
    """What was recorded.

    Attributes:
        folder: where the videos are.
        recordings: one for each policy.
        sheet: name of the contact sheet in the folder; None where there is none.
    """

    folder: Path
    recordings: tuple[Recording, ...]
    sheet: str | None = None

    @property
    def lines(self) -> list[str]:
        """Return where the videos and the contact sheet are."""
        where = [f"recorded in {self.folder}"]
        return where if self.sheet is None else [*where, f"contact sheet {self.folder / self.sheet}"]

    @property
    def videos(self) -> tuple[Path, ...]:
        """Return the video files."""
        return tuple(self.folder / recording.file for recording in self.recordings)


# --- Recording --------------------------------------------------------------------------------------------------------


def record(run: RecordedRun, chosen: Chosen, file: str | Path | None, options: RecordOptions) -> Recorded:
    """Record policies of a run; `morl.experiment.showing.record` explains it.

    Args:
        run: the run.
        chosen: which policies.
        file: None for the run's folder `videos/`.
        options: how.
    """
    subjects = _subjects(run, chosen, file)
    video = None if file is None else check_video_file(file)
    with player_of(run) as player:
        if video is not None:
            return record_file(subjects[0], player, video, options)
        return record_all(subjects, player, videos_folder(run.directory), options)


def player_of(run: RecordedRun) -> EpisodePlayer:
    """Return a player of a run's environment."""
    env, options = run.env_to_build()
    return EpisodePlayer(env, options, run.front.discount)


def _subjects(run: RecordedRun, chosen: Chosen, file: str | Path | None) -> list[Subject]:
    """Return the policies to record.

    Raises:
        ValueError: the choice contradicts itself, or there is no such policy.
    """
    preference, row, policies, conditioned = chosen
    flag = spoken("--all", "policies")
    if (preference is not None) + (row is not None) + (policies is not None) != 1:
        names = (spoken("--preference", "preference"), spoken("--row", "row"), flag)
        raise ValueError(f"exactly one of {', '.join(names)} must be given: it says which policies are recorded")
    if policies is not None and (conditioned or file is not None):
        other = spoken("--conditioned", "conditioned") if conditioned else spoken("--video", "file")
        raise ValueError(f"{flag} records policies of the front into videos/: {other} cannot be given with it")
    if policies is not None:
        count = whole(flag, policies, 1)
        if count > MOST_RECORDED:
            raise ValueError(f"{flag} is {count}, but must be at most {MOST_RECORDED}")
        rows: list[int] = spread_rows(run.front.points, count)
    elif conditioned:
        policy = run.policy(preference, row=row, conditioned=True)
        return [Subject(policy, None, run.policy_sha256(policy.policy_id))]
    else:
        assert row is not None or preference is not None
        rows = [row if row is not None else run.best_row(preference or ())]
    made = [(number, run.policy(row=number)) for number in rows]
    return [Subject(policy, number, run.policy_sha256(policy.policy_id)) for number, policy in made]


def recording_line(recording: Recording) -> str:
    """Return one line about a recorded policy: file, seed, length and discounted return of each episode."""
    which = f"policy {recording.policy_id}" if recording.row is None else f"row {recording.row}"
    texts = [f"({', '.join(map(number_text, episode))})" for episode in recording.returns]
    last = recording.seed + len(recording.lengths) - 1
    seeds = f"seed {recording.seed}" if last == recording.seed else f"seeds {recording.seed} to {last}"
    return f"{recording.file}  {which}, {seeds}, {sum(recording.lengths):,} steps, returns {'; '.join(texts)}"


class _Episode(NamedTuple):
    """What one episode returned."""

    returns: FloatArray
    """[objective] discounted."""
    undiscounted_returns: FloatArray
    """[objective]"""
    length: int


class _Film(NamedTuple):
    """A recorded policy: its entry without file names, and its key pictures."""

    episodes: list[_Episode]
    size: tuple[int, int]
    seconds: float
    key_pictures: KeyPictures


def check_video_file(file: str | Path) -> Path:
    """Return the path of a file that a video can be written to; checked before anything is played.

    Raises:
        ValueError: its ending is not .mp4 or .gif, nothing can be written there, or the package for .mp4 is missing.
        OSError: it is a link, which a video would replace.
    """
    path = check_output_file(spoken("--video", "file"), file, VIDEO_ENDINGS)
    if path.suffix.lower() == ".mp4" and imageio_ffmpeg() is None:
        raise ValueError(
            f"{file} needs the package imageio-ffmpeg, which is not installed: pip install 'morl-suite[video]', or"
            " record a .gif"
        )
    refuse_special(path)
    return path


def record_file(subject: Subject, player: EpisodePlayer, file: Path, options: RecordOptions) -> Recorded:
    """Record a policy into a file of the user's choice.

    Args:
        subject: the policy.
        player: plays the environment.
        file: what `check_video_file` returned.
        options: how.

    Raises:
        ValueError: the environment draws no pictures.
        OSError: the file cannot be written.
    """
    with appearing_whole(file) as partial:
        film = _film(subject, player, partial, file.suffix.lower(), options)
    entry = _entry(subject, film, file.name, "", file.stat().st_size, options)
    options.tell(entry)
    return Recorded(file.parent, (entry,))


def record_all(
    subjects: Sequence[Subject],
    player: EpisodePlayer,
    folder: Path,
    options: RecordOptions,
) -> Recorded:
    """Record policies into the folder `videos/` of a run; several together get a contact sheet.

    Args:
        subjects: the policies, at least one.
        player: plays the environment.
        folder: of the videos; made where it is missing.
        options: how.

    Raises:
        ValueError: the environment draws no pictures, or another process records into the folder.
        OSError: a file cannot be written.
    """
    ending = usual_ending()
    make_folder(folder)
    done = []
    rows = []
    sheet = None
    with locked(folder, f"{folder} is in use by another process that records into it: wait for it"):
        for leftover in folder.glob(f"{PARTIAL}*"):
            remove(leftover)
        for subject in subjects:
            stem = f"policy-{subject.policy.policy_id}-seed-{options.seed}-{_fingerprint(subject, player, options)}"
            file = folder / f"{stem}{ending}"
            refuse_special(file)
            with appearing_whole(file) as partial:
                film = _film(subject, player, partial, ending, options)
            write_whole(folder / f"{stem}.png", png_bytes(film.key_pictures.late, colors=128))
            entry = _entry(subject, film, file.name, f"{stem}.png", file.stat().st_size, options)
            _update_index(folder, (entry,), None)
            done.append(entry)
            rows.append((_sheet_title(subject, entry), film.key_pictures.pick(KEY_PICTURES)))
            options.tell(entry)
        if len(subjects) > 1:
            heading = f"{player.name}: {len(subjects)} policies, seed {options.seed}, discounted returns"
            content = png_bytes(contact_sheet(rows, heading))
            sheet = f"sheet-{hashlib.sha256(content).hexdigest()[:8]}.png"
            write_whole(folder / sheet, content)
            _update_index(folder, (), sheet)
    return Recorded(folder, tuple(done), sheet)


def _film(subject: Subject, player: EpisodePlayer, path: Path, ending: str, options: RecordOptions) -> _Film:
    """Play a policy's episodes and write their pictures to a file."""
    policy = subject.policy
    bank = PolicyBank(policy.data.spec, torch.device("cpu"))
    bank.add(policy.policy_id, policy.data)
    speed = options.steps_per_second or player.steps_per_second
    every = max(1, round(speed / MOST_PICTURES_A_SECOND))
    rate = speed / every
    key_pictures = KeyPictures()
    writers: list[VideoWriter] = []
    pictures = 0
    size = (0, 0)

    def write(picture: Pixels, times: int = 1) -> None:
        nonlocal pictures, size
        if not writers:
            size = (picture.shape[1], picture.shape[0])
            writers.append(Mp4(path, size, rate) if ending == ".mp4" else Gif(path, rate))
        for _ in range(times):
            writers[0].add(picture)
        pictures += times

    episodes = []
    try:
        for episode in range(options.episodes):
            title = f"{_name_of(subject)}, seed {options.seed + episode}"
            shown: list[Pixels] = []

            def show(moment: Moment, title: str = title, shown: list[Pixels] = shown) -> None:
                picture = captioned(moment, policy.data.spec.objectives, title)
                shown[:] = [picture]
                key_pictures.add(moment.picture)
                write(picture)

            with player.shown_by(show, every):
                seed = player.first_seed(options.seed + episode)
                only = np.array([policy.policy_id])
                played = player.evaluator(bank.act, only, policy.conditioning[None], 1, seed, bank.act_inputs)
            episodes.append(_Episode(played.discounted[0], played.undiscounted[0], int(played.lengths[0])))
            write(shown[0], max(1, round(LAST_PICTURE_SECONDS * rate)))
    finally:
        for writer in writers:
            writer.close()
    return _Film(episodes, size, pictures / rate, key_pictures)


def _name_of(subject: Subject) -> str:
    policy = subject.policy
    if subject.row is not None:
        return f"row {subject.row}, policy {policy.policy_id}"
    return f"policy {policy.policy_id} for ({', '.join(f'{weight:.3g}' for weight in policy.conditioning)})"


def _sheet_title(subject: Subject, entry: Recording) -> str:
    """Return what stands beside a policy's key pictures: its name, then a line for each objective's mean return."""
    objectives = subject.policy.data.spec.objectives
    means = np.mean(np.array(entry.returns), axis=0)
    lines = [f"{name} {number_text(value)}" for name, value in zip(objectives, means, strict=True)]
    return "\n".join([_name_of(subject), *lines])


def _fingerprint(subject: Subject, player: EpisodePlayer, options: RecordOptions) -> str:
    """Return a short hash of everything that determines a recording."""
    conditioning = subject.policy.conditioning.tolist()
    parts = [subject.sha256, subject.row, repr(conditioning), player.name, options.episodes, options.seed]
    text = json.dumps([*parts, options.steps_per_second])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _entry(subject: Subject, film: _Film, file: str, picture: str, size: int, options: RecordOptions) -> Recording:
    policy = subject.policy
    return Recording(
        file=file,
        thumbnail=picture,
        bytes=size,
        policy_id=policy.policy_id,
        policy_sha256=subject.sha256,
        row=subject.row,
        preference=_known(policy.preference),
        conditioning=_known(policy.conditioning),
        seed=options.seed,
        returns=tuple(tuple(episode.returns.tolist()) for episode in film.episodes),
        undiscounted_returns=tuple(tuple(episode.undiscounted_returns.tolist()) for episode in film.episodes),
        lengths=tuple(episode.length for episode in film.episodes),
        width=film.size[0],
        height=film.size[1],
        seconds=film.seconds,
    )


def _known(preference: FloatArray) -> tuple[float, ...] | None:
    return None if np.isnan(preference).any() else tuple(preference.tolist())


def _update_index(folder: Path, added: tuple[Recording, ...], sheet: str | None) -> None:
    """Add recordings to the index; an index that cannot be read is replaced, with a line that says so."""
    file = folder / INDEX
    refuse_special(file)
    index = VideoIndex()
    try:
        index = parse_index(file.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        _LOGGER.warning("%s is replaced: %s", file, error)
    write_text(file, index.with_recordings(added, sheet).to_json())


# --- Which policies ---------------------------------------------------------------------------------------------------


def spread_rows(points: FloatArray, count: int) -> list[int]:
    """Return rows of a front that are spread evenly over it, ordered by the first objective.

    The best of each objective come first, then always the point that is farthest from those chosen (Gonzalez 1985,
    farthest-first traversal), in shares of the front's ranges. Equal points are chosen once.

    Args:
        points: [n, objective], at least one.
        count: how many; all of them where there are fewer.
    """
    ranges = np.ptp(points, axis=0)
    places = (points - points.min(axis=0)) / np.where(ranges > 0.0, ranges, 1.0)
    chosen: list[int] = []
    nearest = np.full(len(points), np.inf)
    for row in places.argmax(axis=0).tolist():
        if len(chosen) < count and nearest[row] > 0.0:
            chosen.append(row)
            nearest = np.minimum(nearest, np.linalg.norm(places - places[row], axis=1))
    while len(chosen) < count and nearest.max() > 0.0:
        row = int(nearest.argmax())
        chosen.append(row)
        nearest = np.minimum(nearest, np.linalg.norm(places - places[row], axis=1))
    return sorted(chosen, key=lambda row: (*points[row].tolist(), row))
