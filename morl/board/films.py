"""Recorded policies of a run as the page shows them: which files are whole, and reading them safely.

A file is served only if the index names it, so no address is ever turned into a path; links are not followed.
"""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from morl.board.files import open_regular, read_whole, version_of
from morl.recordings import INDEX, Recording, VideoIndex, parse_index, recordings_by_row, videos_folder

if TYPE_CHECKING:
    from morl.board.records import ReportedFront

BEGINNINGS = {".mp4": (4, b"ftyp"), ".gif": (0, b"GIF8"), ".png": (0, b"\x89PNG")}
"""Ending -> where a file of this kind says what it is, and what it says."""
KINDS = {".mp4": "video/mp4", ".gif": "image/gif", ".png": "image/png"}
LARGEST_INDEX = 16 * 2**20


class Films:
    """The folder `videos/` of a run.

    Attributes:
        by_row: place of a point among those shown -> its recording.
        damaged: place of a point -> why its recording cannot be shown.
        sheet: name of the contact sheet; None where there is none.
        notes: what is wrong with the index, as it stands there.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = videos_folder(directory)
        self.by_row: dict[int, Recording] = {}
        self.damaged: dict[int, str] = {}
        self.sheet: str | None = None
        self.notes: list[str] = []
        self.version = ""

    def refresh(self, reported: "ReportedFront | None", front_version: str) -> None:
        """Read the index again if it or the front changed.

        Args:
            reported: the front, whose policies are recorded.
            front_version: changes whenever the front does.
        """
        index_version = version_of(self.folder / INDEX)
        version = f"{index_version}|{front_version}" if index_version else ""
        if version == self.version:
            return
        self.version = version
        self.by_row = {}
        self.damaged = {}
        self.sheet = None
        self.notes = []
        if not index_version or reported is None:
            return
        index = self._read_index()
        if index.left_out:
            self.notes.append(f"{self.folder.name}/{INDEX}: {index.left_out} entries cannot be read and are left out")
        places = {row: place for place, row in enumerate(reported.rows.tolist())}
        shown = [replace(one, row=places[one.row]) for one in index.recordings if one.row in places]
        found = recordings_by_row(shown, reported.policy_ids, reported.preferences, reported.hashes)
        for place, recording in found.items():
            reason = self._fault(recording.file, recording.bytes)
            if reason:
                self.damaged[place] = f"{self.folder.name}/{recording.file} {reason}: record it again"
            else:
                self.by_row[place] = recording
        if index.sheet is not None and not self._fault(index.sheet):
            self.sheet = index.sheet

    def _read_index(self) -> VideoIndex:
        try:
            if self._is_linked():
                raise OSError(f"{self.folder.name} is a link: links are not followed")
            return parse_index(read_whole(self.folder / INDEX, LARGEST_INDEX))
        except (OSError, ValueError) as error:
            text = " ".join(str(getattr(error, "strerror", None) or error).split())
            named = text.startswith(self.folder.name)
            self.notes.append(text if named else f"{self.folder.name}/{INDEX} cannot be read: {text}")
            return VideoIndex()

    def _is_linked(self) -> bool:
        return stat.S_ISLNK(os.lstat(self.folder).st_mode)

    def _fault(self, name: str, size: int | None = None) -> str:
        """Return what is wrong with a file; an empty text for nothing.

        Args:
            name: a plain name.
            size: in bytes; None where it is not known.
        """
        try:
            with self.open(name) as file:
                found = os.fstat(file.fileno()).st_size
                place, beginning = BEGINNINGS[Path(name).suffix]
                content = file.read(place + len(beginning))
        except OSError as error:
            return "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        if size is not None and found != size:
            return f"has {found:,} bytes instead of {size:,}"
        return "" if content[place:] == beginning else "is no video"

    def names(self) -> set[str]:
        """Return the names of all files that may be read."""
        found = {name for recording in self.by_row.values() for name in (recording.file, recording.thumbnail)}
        return found if self.sheet is None else found | {self.sheet}

    def open(self, name: str) -> BinaryIO:
        """Return a file of the folder, opened for reading.

        Args:
            name: a plain name, of the index.

        Raises:
            OSError: it is missing, cannot be read, or it or the folder is a link.
        """
        if self._is_linked():
            raise OSError(f"{self.folder} is a link")
        return open_regular(self.folder / name)

    def kind(self, name: str) -> str:
        """Return the media type of a file of the folder."""
        return KINDS[Path(name).suffix]

    def answer(self) -> dict[str, Any]:
        """Return what the page shows of the recordings, as JSON."""
        return {
            "version": self.version,
            "sheet": self.sheet,
            "damaged": {str(place): reason for place, reason in self.damaged.items()},
            "recordings": {str(place): _answer(recording) for place, recording in sorted(self.by_row.items())},
        }


def _answer(recording: Recording) -> dict[str, Any]:
    return {
        "file": recording.file,
        "thumbnail": recording.thumbnail,
        "seed": recording.seed,
        "returns": [list(episode) for episode in recording.returns],
        "steps": list(recording.lengths),
        "width": recording.width,
        "height": recording.height,
    }
