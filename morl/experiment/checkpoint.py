"""Checkpoints: folders that appear whole or not at all, with a manifest of hashes; loading runs no pickled code."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMAT = 1


def save(folder: Path, identity: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Write a checkpoint: one file `<name>.pt` for each state, and `manifest.json` with the identity and all hashes.

    Everything is written to a folder beside it first and then moved into place, so that a run killed at any moment, or
    out of disk, leaves either the whole checkpoint or none. An older one of the same name is moved aside before and
    removed after: at no moment is there none.
    """
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    hashes = {}
    try:
        for name, state in states.items():
            file = partial / f"{name}.pt"
            save_file(file, state)
            hashes[file.name] = _hash(file)
        _write_synced(partial / "manifest.json", json.dumps({"format": FORMAT, **identity, "hashes": hashes}, indent=2))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk it would only be in the way
        raise
    replaced = folder.with_name(f".replaced-{folder.name}")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(partial, folder)
    shutil.rmtree(replaced, ignore_errors=True)


def load(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of a checkpoint by name, after checking its manifest.

    Args:
        folder: the checkpoint.
        identity: entries that the manifest must agree with, such as the agent and the environment.

    Raises:
        ValueError: it is damaged, of another format, or belongs to another agent or environment.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        hashes = dict(manifest["hashes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {folder} is damaged: its manifest.json cannot be read ({error})") from error
    if manifest.get("format") != FORMAT:
        raise ValueError(f"checkpoint {folder} has format {manifest.get('format')}, but this version reads {FORMAT}")
    for key, expected in identity.items():
        if manifest.get(key) != expected:
            raise ValueError(f"checkpoint {folder} is foreign: its {key} is {manifest.get(key)!r}, not {expected!r}")
    for name, expected in hashes.items():
        file = folder / name
        if not file.is_file() or _hash(file) != expected:
            raise ValueError(
                f"checkpoint {folder} is damaged: {name} does not match its hash; delete that folder to"
                " resume from an older one"
            )
    return {Path(name).stem: load_file(folder / name) for name in hashes}


def newest(run_dir: Path) -> Path | None:
    """Return the newest checkpoint of a run, if there is one."""
    folder = run_dir / "checkpoints"
    # A run killed between moving one aside and the next into its place has both under other names.
    return max(folder.glob("step-*"), default=None) or max(folder.glob(".replaced-step-*"), default=None)


def rotate(run_dir: Path, keep: int = 2) -> None:
    """Remove all but the newest checkpoints, and what a kill left half-written."""
    folder = run_dir / "checkpoints"
    for old in [*sorted(folder.glob("step-*"))[:-keep], *folder.glob(".*-step-*")]:
        shutil.rmtree(old)


def save_file(file: Path, state: Any) -> None:
    """Write one state (tensors, arrays, numbers, strings, lists, dicts) so that it reaches the disk whole."""
    partial = file.with_name(f".partial-{file.name}")
    with partial.open("wb") as stream:
        torch.save(_to_tensors(state), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)


def load_file(file: Path) -> Any:
    """Return a state that `save_file` wrote. Only plain data is loaded: no code in the file is run.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        return _from_tensors(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen types for a damaged archive
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{file} is missing or damaged: {reason}") from error


def _to_tensors(state: Any) -> Any:
    """Spell arrays as marked tensors, because loading with weights_only refuses NumPy's own pickles."""
    match state:
        case np.ndarray():
            # A copy of its own: torch warns of arrays that are read-only, and refuses foreign byte orders.
            return {"__array__": torch.from_numpy(np.array(state, state.dtype.newbyteorder("="), order="C"))}
        case np.generic():
            return state.item()
        case dict():
            return {key: _to_tensors(value) for key, value in state.items()}
        case list() | tuple():
            return type(state)(_to_tensors(value) for value in state)
        case torch.Tensor():
            # A view would be saved with all the storage behind it.
            return state.detach().cpu().clone()
        case _:
            return state


def _from_tensors(state: Any) -> Any:
    match state:
        case {"__array__": tensor}:
            return tensor.numpy()
        case dict():
            return {key: _from_tensors(value) for key, value in state.items()}
        case list() | tuple():
            return type(state)(_from_tensors(value) for value in state)
        case _:
            return state


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_synced(file: Path, text: str) -> None:
    with file.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def write_text(file: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    partial = file.with_name(f".partial-{file.name}")
    _write_synced(partial, text)
    os.replace(partial, file)
