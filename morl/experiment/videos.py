"""Recording policies: videos (.mp4, .gif), thumbnails, a contact sheet, and their index in the run folder.

A video is written under another name and renamed when it is whole, and the index is replaced after that: a recording
that is killed leaves nothing that looks like a video.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from morl.acting import Policy, PolicyBank
from morl.board.files import read_whole
from morl.envs.core.drawing import Pixels
from morl.evaluation import Returns
from morl.experiment.files import make_folder, refuse_special, remove, write_text, write_whole
from morl.experiment.messages import spoken
from morl.experiment.ownership import locked
from morl.experiment.rendering import MOST_PICTURES_A_SECOND, EpisodePlayer, Moment, captioned, number_text
from morl.experiment.settings import whole
from morl.experiment.video_files import (
    KEY_PICTURES,
    PARTIAL,
    Gif,
    KeyPictures,
    Mp4,
    VideoWriter,
    appearing_whole,
    check_video_file,
    contact_sheet,
    png_bytes,
    usual_ending,
)
from morl.protocols import FloatArray
from morl.recordings import INDEX, Recording, VideoIndex, parse_index

FASTEST = 100_000
"""Steps that may pass in a second of a video."""
LAST_PICTURE_SECONDS = 1.0
"""How long the end of an episode stands still."""
_LOGGER = logging.getLogger("morl")


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
    def videos(self) -> tuple[Path, ...]:
        """Return the video files."""
        return tuple(self.folder / recording.file for recording in self.recordings)


# --- Recording --------------------------------------------------------------------------------------------------------


class _Film(NamedTuple):
    """A recorded policy: its entry without file names, and its key pictures."""

    returns: list[Returns]
    size: tuple[int, int]
    seconds: float
    key_pictures: KeyPictures


def record_file(subject: Subject, player: EpisodePlayer, file: Path, options: RecordOptions) -> Recorded:
    """Record a policy into a file of the user's choice.

    Args:
        subject: the policy.
        player: plays the environment.
        file: ends in .mp4 or .gif.
        options: how.

    Raises:
        ValueError: the environment draws no pictures.
        OSError: the file cannot be written.
    """
    check_video_file(file)
    with appearing_whole(file) as partial:
        film = _film(subject, player, partial, file.suffix, options)
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

    returns = []
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
                returns.append(
                    player.play(
                        bank.act,
                        np.array([policy.policy_id]),
                        policy.conditioning[None],
                        options.seed + episode,
                        bank.act_inputs,
                    )
                )
            write(shown[0], max(1, round(LAST_PICTURE_SECONDS * rate)))
    finally:
        for writer in writers:
            writer.close()
    return _Film(returns, size, pictures / rate, key_pictures)


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
    takes_none = bool(np.isnan(policy.conditioning).any())
    return Recording(
        file=file,
        thumbnail=picture,
        bytes=size,
        policy_id=policy.policy_id,
        policy_sha256=subject.sha256,
        row=subject.row,
        preference=tuple(policy.preference.tolist()),
        conditioning=None if takes_none else tuple(policy.conditioning.tolist()),
        seed=options.seed,
        returns=_table(np.concatenate([returns.discounted for returns in film.returns])),
        undiscounted_returns=_table(np.concatenate([returns.undiscounted for returns in film.returns])),
        lengths=tuple(int(returns.lengths[0]) for returns in film.returns),
        width=film.size[0],
        height=film.size[1],
        seconds=film.seconds,
    )


def _table(values: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _update_index(folder: Path, added: tuple[Recording, ...], sheet: str | None) -> None:
    """Add recordings to the index; an index that cannot be read is replaced, with a line that says so."""
    file = folder / INDEX
    refuse_special(file)
    index = VideoIndex()
    try:
        index = parse_index(read_whole(file))
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
