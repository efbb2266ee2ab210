"""Recorded behavior of policies: the folder `videos/` of a run and its index, for the writer and for every reader.

| file in `videos/` | holds |
|---|---|
| `index.json` | `{"version": 1, "sheet": file or null, "videos": [one object for each `Recording`]}` |
| `policy-ID-seed-S-HASH.mp4` (or `.gif`) | one recording: all its episodes, one after the other |
| `policy-ID-seed-S-HASH.png` | its thumbnail |
| `sheet-HASH.png` | key frames of the policies of the latest `morl watch RUN --all N` |

HASH stands for everything that determines a recording, so that a file's name never gets other content, and the index is
replaced after the files that it names are there. A reader that finds no index, or not the file that an entry names,
has no recording. Readers trust nothing: other programs and damaged disks write run folders too.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.run_folder import VIDEOS, as_list, as_table, json_text

INDEX = "index.json"
VERSION = 1
MOST_RECORDINGS = 10_000
"""Entries of an index that are read."""
VIDEO_ENDINGS = (".mp4", ".gif")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One entry of the index: a recorded policy.

    Attributes:
        file: name of the video in `videos/`.
        thumbnail: name of the PNG picture in `videos/`.
        bytes: size of the video.
        policy_id: the policy's id in the run.
        policy_sha256: SHA-256 of the policy's file when it was recorded.
        row: its row of the front then; None for a network conditioned on a preference that has no row.
        preference: [objective] what was asked for, or what the policy was trained for; None where neither is known.
        conditioning: [objective] the preference that the network acted for; None where it takes none.
        seed: of the first episode: episode j is the one of `run.evaluate(episodes=1, seed=seed + j)`.
        returns: [episode][objective] discounted returns.
        undiscounted_returns: [episode][objective].
        lengths: [episode] in steps.
        width: of the video in pixels.
        height: of the video in pixels.
        seconds: length of the video.
    """

    file: str
    thumbnail: str
    bytes: int
    policy_id: int
    policy_sha256: str
    row: int | None
    preference: tuple[float, ...] | None
    conditioning: tuple[float, ...] | None
    seed: int
    returns: tuple[tuple[float, ...], ...]
    undiscounted_returns: tuple[tuple[float, ...], ...]
    lengths: tuple[int, ...]
    width: int
    height: int
    seconds: float


class VideoIndex(NamedTuple):
    """What `index.json` holds."""

    recordings: tuple[Recording, ...] = ()
    sheet: str | None = None
    """Name of the contact sheet."""
    left_out: int = 0
    """Entries that could not be read."""

    def with_recordings(self, added: Sequence[Recording], sheet: str | None) -> "VideoIndex":
        """Return the index with further recordings; one of the same file is replaced.

        Args:
            added: the recordings.
            sheet: name of a new contact sheet; None keeps the present one.
        """
        names = {recording.file for recording in added}
        others = [recording for recording in self.recordings if recording.file not in names]
        return VideoIndex((*others, *added), sheet or self.sheet)

    def to_json(self) -> str:
        """Return the content of `index.json`."""
        videos = [asdict(recording) for recording in self.recordings]
        return json_text({"version": VERSION, "sheet": self.sheet, "videos": videos})


def videos_folder(run_dir: Path) -> Path:
    """Return the folder of a run's videos."""
    return run_dir / VIDEOS


def is_safe_name(name: object, endings: Sequence[str]) -> bool:
    """Return whether a text may name a file of `videos/`: letters, digits, "_", "-", "." alone, and a known ending."""
    return isinstance(name, str) and _SAFE_NAME.fullmatch(name) is not None and name.endswith(tuple(endings))


def parse_index(content: bytes) -> VideoIndex:
    """Return the content of an `index.json`; entries that are none are counted and left out.

    Raises:
        ValueError: it is not an index, with a sentence that says why.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{VIDEOS}/{INDEX} is damaged: {error}") from None
    if not isinstance(record, dict) or record.get("version") != VERSION or not isinstance(record.get("videos"), list):
        raise ValueError(f"{VIDEOS}/{INDEX} is damaged, or not of version {VERSION}: it holds no list of videos")
    entries = record["videos"][-MOST_RECORDINGS:]
    recordings = []
    for entry in entries:
        try:
            recordings.append(_recording(entry))
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            continue
    sheet = record.get("sheet")
    left_out = len(record["videos"]) - len(recordings)
    return VideoIndex(tuple(recordings), sheet if is_safe_name(sheet, (".png",)) else None, left_out)


def _recording(entry: object) -> Recording:
    """Return an entry of the index.

    Raises:
        ValueError, LookupError, TypeError, OverflowError: it is not one.
    """
    if not isinstance(entry, dict):
        raise TypeError("an entry must be an object")
    if not is_safe_name(entry["file"], VIDEO_ENDINGS) or not is_safe_name(entry["thumbnail"], (".png",)):
        raise ValueError("file and thumbnail must be plain names")
    returns = _rows(entry["returns"], "returns")
    undiscounted = _rows(entry["undiscounted_returns"], "undiscounted_returns")
    lengths = tuple(_whole(length) for length in as_list(entry["lengths"], "lengths"))
    if not len(returns) == len(undiscounted) == len(lengths) > 0:
        raise ValueError("returns and lengths must be given for each episode")
    row = entry["row"]
    conditioning = entry["conditioning"]
    return Recording(
        file=entry["file"],
        thumbnail=entry["thumbnail"],
        bytes=_whole(entry["bytes"]),
        policy_id=_whole(entry["policy_id"]),
        policy_sha256=str(entry["policy_sha256"])[:64],
        row=None if row is None else _whole(row),
        preference=None if entry["preference"] is None else _rows([entry["preference"]], "preference")[0],
        conditioning=None if conditioning is None else _rows([conditioning], "conditioning")[0],
        seed=_whole(entry["seed"]),
        returns=returns,
        undiscounted_returns=undiscounted,
        lengths=lengths,
        width=_whole(entry["width"]),
        height=_whole(entry["height"]),
        seconds=float(as_table([[entry["seconds"]]], "seconds")[0, 0]),
    )


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not abs(value) <= 2**53:
        raise ValueError(f"{value!r:.50} must be a whole number")
    return value


def _rows(value: object, name: str) -> tuple[tuple[float, ...], ...]:
    table = as_table(value, name)
    return tuple(tuple(row) for row in table.tolist())


def recordings_by_row(
    recordings: Iterable[Recording],
    policy_ids: NDArray[np.int64],
    preferences: NDArray[np.float64],
    hashes: Mapping[int, str],
) -> dict[int, Recording]:
    """Return the newest recording of each row of a front, by row; those of policies that have changed are passed over.

    Args:
        recordings: in the order of the index, the newest last.
        policy_ids: [row] of the front.
        preferences: [row, objective] of the front; NaN where a policy has none.
        hashes: policy id -> SHA-256 of its file.
    """
    found = {}
    for recording in recordings:
        row = recording.row
        if row is None or not 0 <= row < len(policy_ids) or int(policy_ids[row]) != recording.policy_id:
            continue
        wanted = preferences[row]
        given = np.full(len(wanted), np.nan) if recording.conditioning is None else np.array(recording.conditioning)
        if hashes.get(recording.policy_id) == recording.policy_sha256 and np.array_equal(given, wanted, equal_nan=True):
            found[row] = recording
    return found
