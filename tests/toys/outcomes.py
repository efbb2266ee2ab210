"""Everything that a run leaves for its readers, to compare two runs. On the path through conftest.py."""

import hashlib
from pathlib import Path
from typing import Any

import toys


def outcome(run: Path) -> dict[str, Any]:
    """Return everything that a run leaves for its readers, without clocks."""
    return {
        "front": toys.front(run),
        "policies": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((run / "policies").iterdir())
        },
        "evaluations": toys.lines(run / "fronts.jsonl"),
        "metrics": toys.lines(run / "metrics.jsonl"),
        "scalars": toys.scalars(run),
        "names": sorted(file.name for file in run.iterdir()),
        "checkpoints": sorted(file.name for file in (run / "checkpoints").iterdir()),
        "agent": toys.states(run, "agent", "counters"),
    }


def assert_same(found: dict[str, Any], expected: dict[str, Any], moment: Any) -> None:
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        assert toys.difference(found[part], value) == "", (moment, part)
