"""What `morl list` prints: agents, environments, tuned settings. Nothing is built for it, and PyTorch stays out."""

from importlib import resources
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from morl.tables import Column, ShownTable, stdout_console

DROPPED = {"known front": 1, "discount": 2, "backend": 3, "reference point": 4, "action": 5, "observation": 6}
"""Columns of the table of environments that a narrow terminal does not show, the highest number first."""
NOT_OF_AGENTS = ("studies", "tunings")
"""Folders of `morl.configs` that hold no tuned settings."""


def list_agents() -> None:
    """Print each agent with the first line of its module."""
    from morl.agents import agent_summaries

    table = Table("agent", "what it is")
    table.columns[0].no_wrap = True
    for name, summary in agent_summaries().items():
        table.add_row(name, escape(summary))
    stdout_console().print(table)


def list_envs(containing: str = "") -> None:
    """Print every environment whose rewards are described and whose id contains a text; one alone in full.

    Raises:
        ValueError: there is none.
    """
    from morl.envs import load_plugins, specs
    from morl.envs.core.entry import nearest
    from morl.envs.core.table import Row, rows

    load_plugins()
    found = rows(containing)
    titles = [name.replace("_", " ") for name in Row._fields]
    if not found:
        raise ValueError(f"there is no environment whose id contains {containing!r}{nearest(containing, specs)}")
    if len(found) == 1:
        table = Table(show_header=False, box=None)
        facts = dict(zip(titles, found[0], strict=True)) | {"source": specs[found[0].id].source}
        for title, value in facts.items():
            table.add_row(title, escape(value))
        stdout_console().print(table)
        return
    columns = [
        Column(
            title=title,
            cells=tuple(row[place] for row in found),
            dropped=DROPPED.get(title, 0),
            left=True,
            whole=title == "id",
        )
        for place, title in enumerate(titles)
    ]
    stdout_console().print(ShownTable(title=f"{len(found)} environments", columns=tuple(columns)))


def tuned_files() -> list[Path]:
    """Return the files of tuned settings that come with morl, sorted."""
    found = Path(str(resources.files("morl.configs"))).glob("*/*.toml")
    return sorted(file for file in found if file.parent.name not in NOT_OF_AGENTS)


def list_configs() -> None:
    """Print the tuned settings that come with morl."""
    agents: list[str] = []
    envs: list[str] = []
    files: list[str] = []
    for file in tuned_files():
        agents.append(file.parent.name.replace("_", "-"))
        envs.append(file.stem)
        files.append(str(file))
    columns = (
        Column(title="agent", cells=tuple(agents), left=True),
        Column(title="environment", cells=tuple(envs), left=True, whole=True),
        Column(title="file", cells=tuple(files), left=True, whole=True, dropped=1),
    )
    stdout_console().print(ShownTable(title=f"{len(files)} tuned settings", columns=columns))
