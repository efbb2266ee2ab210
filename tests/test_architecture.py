"""The architecture is enforced, not described: arrows between the parts, sizes, and what an import costs."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 50
TOO_LONG: dict[str, str] = {}
"""`path` or `path:function` -> why it may be longer. Keep it empty: a reason to be long is rarely a good one."""


def python_files() -> Iterator[Path]:
    for folder in ("morl", "envs", "agents", "configs"):
        for path, folders, files in os.walk(ROOT / folder):  # does not follow links: each file once
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(path, name) for name in files if name.endswith(".py"))


FILES = sorted(python_files())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_arrows_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_fits_the_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "TODO" not in text
    assert "FIXME" not in text
    name = name_of(path)
    if name not in TOO_LONG:
        assert len(text.splitlines()) <= LINES_PER_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and f"{name}:{node.name}" not in TOO_LONG:
            assert function_lines(node) <= LINES_PER_FUNCTION, f"{node.name} is too long"


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring, which may say as much as it needs."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_exceptions_are_still_needed() -> None:
    names = {name_of(path) for path in FILES}
    assert {entry.split(":")[0] for entry in TOO_LONG} <= names


def test_importing_morl_costs_next_to_nothing() -> None:
    code = (
        "import sys, time; start = time.process_time(); import morl; print(time.process_time() - start);"
        "print({'torch', 'gymnasium', 'numba', 'matplotlib', 'tensorboard', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, heavy = run.stdout.splitlines()
    assert heavy == "set()"
    assert float(seconds) < 0.5
