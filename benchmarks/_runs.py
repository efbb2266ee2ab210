"""What benchmarks ask of run folders."""

import json
import tomllib
from pathlib import Path


def is_finished(run_dir: Path) -> bool:
    """Return whether a run folder holds a front after all steps."""
    front = run_dir / "front.json"
    if not front.is_file():
        return False
    total_steps = tomllib.loads((run_dir / "config.toml").read_text())["total_steps"]
    return bool(json.loads(front.read_text())["training_steps"] >= total_steps)
