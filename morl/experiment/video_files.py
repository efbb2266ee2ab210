"""Video files and pictures of them: .mp4 by ffmpeg, .gif, thumbnails, contact sheets."""

import logging
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Protocol

import numpy as np
from PIL import Image

from morl.envs.core.drawing import Drawing
from morl.envs.core.types import Pixels

LARGEST_GIF = 3_000
"""Pictures of a .gif, which are all in memory until it is written."""
THUMBNAIL = 160
"""Width of a thumbnail in pixels."""
KEY_PICTURES = 5
"""Pictures of each policy on the contact sheet."""
KEPT_PICTURES = 64
_LOGGER = logging.getLogger("morl")


# --- Videos -----------------------------------------------------------------------------------------------------------


class VideoWriter(Protocol):
    """Writes the pictures of one video."""

    def add(self, picture: Pixels) -> None:
        """Append a picture; all have the same even size."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class Mp4:
    """H.264 with yuv420p and its index in front, which every browser plays; encoded by ffmpeg while it is written.

    Raises:
        OSError: ffmpeg cannot write the file, with its own last words.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        ffmpeg = imageio_ffmpeg()
        assert ffmpeg is not None
        given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{rate:.6g}", "-i", "-"]
        coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-crf", "26", "-threads", "1"]
        repeatable = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", "-f", "mp4"]
        command = [ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *given, *coded, *repeatable, str(path)]
        self._path = path
        self._words = TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._words, start_new_session=True
        )

    def add(self, picture: Pixels) -> None:
        """Append a picture; all have the same even size."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).tobytes())
        except OSError:  # it has ended
            self.close()

    def close(self) -> None:
        """Finish the file."""
        if self._words.closed:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        code = self._process.wait()
        with self._words:
            self._words.seek(0)
            words = self._words.read().decode(errors="replace").strip().splitlines()
        if code != 0:
            raise OSError(f"{self._path} cannot be written: ffmpeg says {words[-1] if words else f'nothing ({code})'}")


class Gif:
    """A picture that moves, for pages that take no video; 256 colors."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._milliseconds = max(20, round(100.0 / rate) * 10)
        self._pictures: list[Image.Image] = []

    def add(self, picture: Pixels) -> None:
        """Append a picture; all have the same even size."""
        if len(self._pictures) == LARGEST_GIF:
            raise ValueError(
                f"a .gif holds at most {LARGEST_GIF:,} pictures: record an .mp4, or fewer episodes at once"
            )
        self._pictures.append(Image.fromarray(picture).quantize(128, Image.Quantize.FASTOCTREE))

    def close(self) -> None:
        """Finish the file."""
        first, *others = self._pictures
        first.save(self._path, format="GIF", save_all=True, append_images=others, duration=self._milliseconds, loop=0)


def imageio_ffmpeg() -> ModuleType | None:
    """Return the package that brings ffmpeg; None where it is not installed."""
    try:
        import imageio_ffmpeg as package
    except ImportError:
        return None
    module: ModuleType = package
    return module


def usual_ending() -> str:
    """Return ".mp4", or ".gif" where the package that writes .mp4 is not installed, with one line that says so."""
    if imageio_ffmpeg() is not None:
        return ".mp4"
    _LOGGER.warning("imageio-ffmpeg is not installed, recorded as .gif: pip install 'morl-suite[video]' for .mp4")
    return ".gif"


# --- Pictures that stand for a video ----------------------------------------------------------------------------------


class KeyPictures:
    """Keeps at most `KEPT_PICTURES` of a stream of pictures, evenly spaced and small, and the last one."""

    def __init__(self) -> None:
        self._kept: list[Pixels] = []
        self._every = 1
        self._seen = 0
        self._last: Pixels | None = None

    def add(self, picture: Pixels) -> None:
        """Take the next picture."""
        small = thumbnail(picture)
        if self._seen % self._every == 0:
            self._kept.append(small)
            if len(self._kept) > KEPT_PICTURES:
                self._kept = self._kept[::2]
                self._every *= 2
        self._seen += 1
        self._last = small

    def pick(self, count: int) -> list[Pixels]:
        """Return `count` pictures from the first to the last one, fewer where there were fewer."""
        assert self._last is not None
        pictures = self._kept if self._kept[-1] is self._last else [*self._kept, self._last]
        places = np.unique(np.linspace(0, len(pictures) - 1, count).round().astype(int))
        return [pictures[place] for place in places]

    @property
    def late(self) -> Pixels:
        """Return the picture that shows best what a policy is about: shortly before its end."""
        assert self._last is not None
        pictures = self.pick(KEY_PICTURES)
        return pictures[-2] if len(pictures) == KEY_PICTURES else self._last


def thumbnail(picture: Pixels) -> Pixels:
    """Return a picture at the width of a thumbnail."""
    height, width = picture.shape[:2]
    size = (THUMBNAIL, max(1, round(height * THUMBNAIL / width)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def contact_sheet(rows: Sequence[tuple[str, Sequence[Pixels]]], heading: str) -> Pixels:
    """Return a picture with a row for each policy: what it is called and got, then its key pictures.

    Args:
        rows: title, whose lines are separated by line ends, and pictures of each policy.
        heading: what the sheet is of.
    """
    gap = 6
    texts = 210
    lines = max(len(title.split("\n")) for title, _ in rows)
    height = max(max(len(picture) for _, pictures in rows for picture in pictures), 17 * lines) + gap
    most = max(len(pictures) for _, pictures in rows)
    sheet = Drawing(texts + most * (THUMBNAIL + gap) + gap, 34 + height * len(rows))
    sheet.text((gap + 4, 17), heading, size=14)
    for number, (title, _) in enumerate(rows):
        for line, words in enumerate(title.split("\n")):
            sheet.text((gap + 4, 44 + height * number + 17 * line), words, "faint" if line else "ink", 13)
    pixels = sheet.pixels().copy()
    for number, (_, pictures) in enumerate(rows):
        for place, picture in enumerate(pictures):
            top = 34 + height * number
            left = texts + place * (THUMBNAIL + gap)
            pixels[top : top + len(picture), left : left + THUMBNAIL] = picture
    return pixels


def png_bytes(picture: Pixels, colors: int | None = None) -> bytes:
    """Return a picture as the content of a PNG file.

    Args:
        picture: the picture.
        colors: how many it may have, at most 256; None: as many as it has.
    """
    image = Image.fromarray(picture)
    if colors is not None:
        image = image.quantize(colors, Image.Quantize.FASTOCTREE)
    stream = BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
