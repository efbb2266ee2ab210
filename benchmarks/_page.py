"""Write the output of benchmark commands into a page of docs/results, with date, machine and versions.

    python benchmarks/_page.py docs/results/environments.md                 all blocks of the page
    python benchmarks/_page.py docs/results/environments.md --only MuJoCo   blocks whose command has this part

A block of a page stands between two comments, the first of which is the command:

    <!-- output of: python benchmarks/families.py --episodes 1000 -->
    <!-- end of output -->

What the command prints replaces what stands between them; text that is no Markdown table becomes a code block. `make
tables PAGE=environments` does the same.
"""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- output of: (?P<command>[^\n]+?) -->\n.*?<!-- end of output -->", re.DOTALL)
PACKAGES = ("numpy", "numba", "torch", "mujoco", "mo-gymnasium", "moocore", "pygmo", "envpool", "ray")
"""Packages whose version is written where the command or its output names them; numpy, numba and torch always."""
ALWAYS = 3


def run(command: str) -> str:
    """Run a command in the repository and return its block: what it printed, and how it was obtained.

    Args:
        command: its words as a shell would read them; `python` is the interpreter that runs this script.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"} | os.environ
    load = os.getloadavg()[0]
    started = time.monotonic()
    printed = subprocess.run(words, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = time.monotonic() - started
    return f"{markdown(printed)}\n\n{origin(command, printed, load, seconds)}"


def markdown(printed: str) -> str:
    """Return printed text as Markdown: tables stand apart from other lines; text without tables is a code block."""
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    if not any(line.startswith("|") for line in lines):
        return "\n".join(["```text", *lines, "```"])
    apart: list[str] = []
    for line in lines:
        if apart and apart[-1] and line and line.startswith("|") != apart[-1].startswith("|"):
            apart.append("")
        apart.append(line)
    return "\n".join(apart)


def origin(command: str, printed: str, load: float, seconds: float) -> str:
    """Return the line below a block: command, date, duration, machine and its load, versions, commit."""
    versions = [f"Python {platform.python_version()}", f"morl {version('morl-suite')}"]
    for index, package in enumerate(PACKAGES):
        if index < ALWAYS or package in f"{command} {printed}".lower():
            try:
                versions.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    cores = len(os.sched_getaffinity(0))
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {seconds:,.0f} s; {processor()}, {cores} cores, load average "
        f"{load:.1f} when it started; {', '.join(versions)}; commit {commit.stdout.strip()}."
    )


def processor() -> str:
    """Return the name of the processor."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else platform.machine()


def origin_of_runs(folders: Iterable[Path]) -> str:
    """Return where finished runs were trained: machines, versions and commits, from their `system.json`.

    Args:
        folders: run folders.
    """
    systems = [json.loads((folder / "system.json").read_text(encoding="utf-8")) for folder in folders]
    machines = sorted({f"{system['processor']}, {system['cores']} cores" for system in systems})
    versions = sorted(
        {f"Python {system['python']}, morl {system['morl']}, numpy {system['packages']['numpy']}" for system in systems}
    )
    commits = sorted({system["commit"] or "unknown" for system in systems})
    return f"Trained on {' and '.join(machines)}; {'; '.join(versions)}; commit {', '.join(commits)}."


def main() -> None:
    """Run the commands of a page, and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", default="", help="blocks whose command has this part")
    arguments = parser.parse_args()
    commands = [found["command"] for found in BLOCK.finditer(arguments.page.read_text(encoding="utf-8"))]
    for command in commands:
        if arguments.only in command:
            print(command, flush=True)
            block = run(command)
            text = arguments.page.read_text(encoding="utf-8")
            start = text.index(f"<!-- output of: {command} -->")
            stop = text.index("<!-- end of output -->", start)
            written = f"{text[:start]}<!-- output of: {command} -->\n{block}\n{text[stop:]}"
            arguments.page.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
