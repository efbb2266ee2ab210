"""Execute notebooks in place, without Jupyter: python docs/_site/notebooks.py examples/*.ipynb.

All cells of a notebook share one namespace. What a cell prints, the value of its last expression and its matplotlib
figures become the outputs that readers see; the test of the notebooks and the pages of the site use the same functions.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

Cell = dict[str, Any]
DOTS_PER_INCH = 80


def read(file: Path) -> dict[str, Any]:
    """Return the notebook of a file."""
    notebook: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return notebook


def source_of(cell: Cell) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def run(notebook: dict[str, Any], change: Callable[[str], str] = str) -> None:
    """Execute the code cells of a notebook, and store their outputs in them.

    Args:
        notebook: as `read` returns it; changed.
        change: what is done to the code of a cell before it runs, such as taking fewer steps.
    """
    import matplotlib

    matplotlib.use("agg")
    module = ModuleType("notebook")
    sys.modules["notebook"] = module  # where pickle looks for the classes of the notebook
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = _outputs(change(source_of(cell)), vars(module), count)


def _outputs(code: str, names: dict[str, object], count: int) -> list[dict[str, Any]]:
    """Return the outputs of a cell: what it prints, the value of its last expression, its figures."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append(
            {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}
        )
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    if isinstance(value, Figure) and value not in figures:
        figures.append(value)
    if value is not None and not figures:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    for figure in figures:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
        text = base64.b64encode(picture.getvalue()).decode()
        outputs.append({"output_type": "display_data", "metadata": {}, "data": {"image/png": text}})
    pyplot.close("all")
    return outputs


def page(notebook: dict[str, Any], name: str) -> str:
    """Return a notebook as a page of the site, its pictures inside.

    Args:
        notebook: executed.
        name: of its file, which the page names.
    """
    parts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(source_of(cell))
            continue
        parts.append(f"```python\n{source_of(cell)}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            text = "".join(output.get("text", data.get("text/plain", [])))
            if text:
                parts.append(f"```text\n{text.rstrip()}\n```")
            if "image/png" in data:
                parts.append(f"![The figure of the cell above](data:image/png;base64,{data['image/png']})")
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n*The notebook `examples/{name}`; a test executes it.*\n{rest}\n"


def main(files: list[str]) -> None:
    """Execute notebooks, and write them back."""
    for name in files:
        file = Path(name).resolve()
        notebook = read(file)
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # runs are written there
            run(notebook)
            os.chdir(here)
        file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
