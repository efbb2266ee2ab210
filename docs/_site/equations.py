"""Equations as SVG, drawn by matplotlib: no script, no font of the reader's machine."""

import html
import re
from functools import cache

import numpy as np
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath

SIZE = 10.0
"""Points in which equations are set; the page scales them to its letters."""
RELATIVE_SIZE = 1.2
"""Of an equation to the letters around it."""
SPELLED = {
    r"\lvert": "|",
    r"\rvert": "|",
    r"\lVert": r"\Vert",
    r"\rVert": r"\Vert ",
    r"\text": r"\mathrm",
    r"\ge ": r"\geq ",
    r"\le ": r"\leq ",
}
"""What matplotlib does not know -> what it knows instead."""
COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


@cache
def svg_of(latex: str) -> str:
    """Return an equation as SVG that stands on the baseline of its line.

    Args:
        latex: the equation, without dollar signs.

    Raises:
        ValueError: matplotlib cannot set it.
    """
    spelled = re.sub(r"\s+", " ", latex)  # an equation may be broken over two lines
    for unknown, known in SPELLED.items():
        spelled = spelled.replace(unknown, known)
    spelled = re.sub(r"\\frac(\w)", r"\\frac{\1}", spelled)  # TeX's short forms: \frac12, \frac1{n}
    spelled = re.sub(r"(\\frac\{[^{}]*\})(\w)", r"\1{\2}", spelled)
    text = f"${spelled}$"
    with rc_context({"mathtext.fontset": "stix"}):
        width, height, depth = MathTextParser("path").parse(text, dpi=72, prop=FontProperties(size=SIZE))[:3]
        outline = TextPath((0, 0), text, size=SIZE)
    drawn = []
    for points, code in outline.iter_segments(simplify=False, curves=True):
        numbers = np.round(np.reshape(points, (-1, 2)) * (1, -1), 2)
        letter = COMMANDS[code]
        drawn.append(letter if letter == "Z" else letter + " ".join(f"{x:g} {y:g}" for x, y in numbers))
    scale = RELATIVE_SIZE / SIZE
    style = f"width:{width * scale:.3f}em;height:{(height + depth) * scale:.3f}em;vertical-align:{-depth * scale:.3f}em"
    label = html.escape(re.sub(r"\s+", " ", latex), quote=True)
    return (
        f'<svg class="equation" role="img" aria-label="{label}"'
        f' viewBox="0 {-height:.2f} {width:.2f} {height + depth:.2f}" style="{style}">'
        f'<path fill="currentColor" d="{"".join(drawn)}"/></svg>'
    )
