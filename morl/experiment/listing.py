"""What `morl list` prints: agents, environments, tuned settings. Nothing is built for it, and PyTorch stays out."""

from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

WIDTH_IN_FILES = 1000
"""Columns where the output is not a terminal: lines are not broken then."""


def list_agents() -> None:
    """Print each agent with the first line of its module."""
    from morl.agents import agent_summaries

    table = Table(Column("agent", no_wrap=True), "what it is")
    for name, summary in agent_summaries().items():
        table.add_row(name, escape(summary))
    _console().print(table)


def list_envs(containing: str = "") -> None:
    """Print every environment whose rewards are described and whose id contains a text; one alone in full.

    Raises:
        ValueError: there is none.
    """
    from morl.envs import specs
    from morl.envs.core.entry import nearest
    from morl.envs.core.table import Row, rows

    found = rows(containing)
    titles = [name.replace("_", " ") for name in Row._fields]
    if not found:
        raise ValueError(f"there is no environment whose id contains {containing!r}{nearest(containing, specs)}")
    if len(found) == 1:
        table = Table(show_header=False, box=None)
        facts = dict(zip(titles, found[0], strict=True)) | {"source": specs[found[0].id].source}
        for title, value in facts.items():
            table.add_row(title, escape(value))
    else:
        table = Table()
        for title in titles:
            table.add_column(title, no_wrap=title == titles[0], overflow="fold")
        for row in found:
            table.add_row(*map(escape, row))
    _console().print(table)


def list_configs() -> None:
    """Print the tuned settings that come with morl."""
    table = Table("agent", Column("environment", no_wrap=True), Column("file", overflow="fold"))
    for folder in sorted(Path(str(resources.files("morl.configs"))).iterdir()):
        for file in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
            table.add_row(folder.name.replace("_", "-"), file.stem, escape(str(file)))
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_IN_FILES)
