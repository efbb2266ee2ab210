"""Record policies of a run side by side as one GIF: python docs/_site/moving_picture.py RUN FILE.gif ROW [ROW ...].

`python docs/_site/moving_picture.py RUN docs/pictures/demo.gif 1 5 9` with the run of `make demo` makes that picture.
"""

import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageSequence

import morl

MILLISECONDS = 350
"""Of one picture."""
HEIGHT = 300


def frames_of(run: morl.Run, row: int, folder: Path) -> list[Image.Image]:
    """Return the pictures of one episode of the policy behind a row of the front."""
    file = folder / f"{row}.gif"
    run.record(file, row=row)
    with Image.open(file) as film:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(film)]
    different = [frames[0]]
    different += [frame for before, frame in pairwise(frames) if frame != before]
    return [frame.resize((frame.width * HEIGHT // frame.height, HEIGHT)) for frame in different]


def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    run = morl.load(arguments[0])
    with tempfile.TemporaryDirectory() as folder:
        films = [frames_of(run, int(row), Path(folder)) for row in arguments[2:]]
    length = max(map(len, films)) + 4  # the last picture stays for a while
    pictures = []
    for moment in range(length):
        shown = [film[min(moment, len(film) - 1)] for film in films]
        whole = Image.new("RGB", (sum(frame.width for frame in shown) + 8 * (len(shown) - 1), HEIGHT), "white")
        left = 0
        for frame in shown:
            whole.paste(frame, (left, 0))
            left += frame.width + 8
        pictures.append(whole.quantize(64, dither=Image.Dither.NONE))
    pictures[0].save(
        arguments[1], save_all=True, append_images=pictures[1:], duration=MILLISECONDS, loop=0, optimize=True
    )


if __name__ == "__main__":
    main(sys.argv[1:])
