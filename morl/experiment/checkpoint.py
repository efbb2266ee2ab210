"""Checkpoints: folders that appear whole or not at all, with a manifest of hashes; loading runs no pickled code."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
import torch

from morl.board.files import open_regular, read_whole
from morl.experiment.files import FileMark, NewFile, make_folder, refuse_link, remove_tree, rename, write_whole
from morl.run_folder import CHECKPOINTS

FORMAT = 4
LARGEST_EXPANSION = 1.01
"""Largest size of the content of a file in units of the file's: torch does not compress."""


def save(folder: Path, identity: Mapping[str, object], states: Mapping[str, Any]) -> None:
    """Write a checkpoint: one file `<name>.pt` for each state, and `manifest.json` with the identity and all hashes.

    Everything is written to a folder beside it first and then moved into place, so that a run killed at any moment, or
    out of disk, leaves either the whole checkpoint or none. An older one of the same name is moved aside before and
    removed after: at no moment is there none.

    Args:
        folder: the checkpoint, `checkpoints/step-<step>`.
        identity: entries of the manifest.
        states: plain data by name.

    Raises:
        OSError: naming the file that cannot be written.
    """
    refuse_link(folder.parent)
    partial = folder.with_name(f".partial-{folder.name}")
    remove_tree(partial)
    make_folder(partial)
    hashes = {}
    try:
        for name, state in states.items():
            file = partial / f"{name}.pt"
            hashes[file.name] = _save_new(file, state).sha256
        manifest = json.dumps({"format": FORMAT, **identity, "hashes": hashes}, indent=2)
        write_whole(partial / "manifest.json", manifest.encode())
    except Exception:
        remove_tree(partial)  # on a full disk it would only be in the way
        raise
    replaced = folder.with_name(f".replaced-{folder.name}")
    remove_tree(replaced)
    if folder.exists():
        rename(folder, replaced)
    rename(partial, folder)
    remove_tree(replaced)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint.

    Raises:
        ValueError: it is missing or damaged, or of another format.
    """
    try:
        manifest: dict[str, Any] = json.loads(read_whole(folder / "manifest.json"))
        manifest["hashes"] = dict(manifest["hashes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = "it lacks its manifest.json" if isinstance(error, FileNotFoundError) else ""
        reason = reason or f"its manifest.json cannot be read ({error})"
        raise ValueError(f"checkpoint {folder} is damaged: {reason}; {remedy(folder)}") from error
    if manifest.get("format") != FORMAT:
        found = manifest.get("format")
        raise ValueError(f"checkpoint {folder} has format {found}, but this version reads {FORMAT}; {remedy(folder)}")
    return manifest


def load(folder: Path, identity: Mapping[str, object]) -> dict[str, Any]:
    """Return the states of a checkpoint by name, after checking its manifest.

    Args:
        folder: the checkpoint.
        identity: entries that the manifest must agree with, such as the agent and the environment.

    Raises:
        ValueError: it is damaged, of another format, or belongs to another agent or environment.
    """
    manifest = read_manifest(folder)
    for key, expected in identity.items():
        if manifest.get(key) != expected:
            raise ValueError(
                f"checkpoint {folder} is foreign: its {key} is {manifest.get(key)!r:.200}, not {expected!r};"
                f" {remedy(folder)}"
            )
    names = [str(name) for name in manifest["hashes"]]
    for name in names:
        _check_state(folder, name, manifest["hashes"])
    return {Path(name).stem: _load_state(folder, name) for name in names}


def load_state(folder: Path, name: str) -> Any:
    """Return one state of a checkpoint, after checking its file.

    Args:
        folder: the checkpoint.
        name: of the state, without ".pt".

    Raises:
        ValueError: the manifest or the file is missing or damaged.
    """
    _check_state(folder, f"{name}.pt", read_manifest(folder)["hashes"])
    return _load_state(folder, f"{name}.pt")


def _load_state(folder: Path, name: str) -> Any:
    try:
        return load_file(folder / name)
    except ValueError as error:
        raise ValueError(f"checkpoint {folder} is damaged: {error}; {remedy(folder)}") from error


def _check_state(folder: Path, name: str, hashes: Mapping[str, object]) -> None:
    """Check that a file of a checkpoint is the one that was written.

    Args:
        folder: the checkpoint.
        name: of the file.
        hashes: name -> SHA-256, as the manifest says.

    Raises:
        ValueError: it is not.
    """
    file = folder / name
    if name not in hashes:
        fault = f"its manifest.json names no {name}"
    elif Path(name).name != name:
        fault = f"its manifest.json names a file outside it, {name!r:.100}"
    elif not os.path.lexists(file):
        fault = f"it lacks its {name}"
    elif file.is_file() and file.stat().st_size == 0:
        fault = f"its {name} is empty"
    elif _hash(file) != hashes[name]:
        fault = f"its {name} does not match its hash"
    else:
        return
    raise ValueError(f"checkpoint {folder} is damaged: {fault}; {remedy(folder)}")


def remedy(folder: Path) -> str:
    """Return what to do about a checkpoint that cannot be resumed from: take the one before, or train again."""
    others = [path for path in _checkpoints(folder.parent) if path != folder]
    older = max(others, key=_age, default=None)
    if older is not None:
        return f"delete that folder to resume from {older.name} beside it"
    return "there is no other one: train the run again"


def newest(run_dir: Path) -> Path | None:
    """Return the newest checkpoint of a run, if there is one; links are none.

    A run killed between moving one aside and the next into its place has both under other names.
    """
    folder = run_dir / CHECKPOINTS
    if folder.is_symlink():
        return None
    return max(_checkpoints(folder), key=_age, default=None)


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, those that were moved aside included."""
    found = [*folder.glob("step-*"), *folder.glob(".replaced-step-*")]
    return [path for path in found if not path.is_symlink()]


def _age(folder: Path) -> tuple[str, bool]:
    """Return what sorts checkpoints by their step, and a moved one before the one in its place."""
    return folder.name.removeprefix(".replaced-"), not folder.name.startswith(".")


def rotate(run_dir: Path, keep: int = 2) -> None:
    """Remove all but the newest checkpoints, and what a kill left half-written."""
    folder = run_dir / CHECKPOINTS
    refuse_link(folder)
    for old in [*sorted(folder.glob("step-*"))[:-keep], *sorted(folder.glob(".*-step-*"))]:
        remove_tree(old)


def save_file(file: Path, state: object) -> None:
    """Write one state (tensors, arrays, numbers, strings, lists, dicts) so that it reaches the disk whole.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    partial = file.with_name(f".partial-{file.name}")
    remove_tree(partial)
    _save_new(partial, state)
    rename(partial, file)


def _save_new(file: Path, state: object) -> FileMark:
    """Write one state to a new file and return its size and hash."""
    stream = NewFile(file)
    try:
        torch.save(_to_tensors(state), cast(IO[bytes], stream))
        stream.close()
    except RuntimeError:
        if stream.error is not None:  # torch hides why a write failed
            raise stream.error from None
        raise
    finally:
        stream.abandon()
    return stream.mark


def load_file(file: Path) -> Any:
    """Return a state that `save_file` wrote. Only plain data is loaded: no code in the file is run.

    Raises:
        ValueError: the file is missing or damaged, or no regular file.
    """
    try:
        with open_regular(file) as stream:
            return load_stream(stream)
    except Exception as error:  # torch raises a dozen types for a damaged archive
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{file} is missing or damaged: {reason}") from error


def load_stream(stream: BinaryIO) -> Any:
    """Return the state in an open file that `save_file` wrote.

    Raises:
        Exception: of any type, where the file is damaged.
    """
    size = stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    if expanded > LARGEST_EXPANSION * size:
        raise ValueError(f"it would expand to {expanded:,} bytes")
    stream.seek(0)
    return _from_tensors(torch.load(stream, map_location="cpu", weights_only=True))


def _to_tensors(state: object) -> object:
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
            return _compact(state.detach().cpu())
        case _:
            return state


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the CPU whose storage holds nothing else, because all of the storage would be saved.

    It shares the memory where it can: a replay buffer may take half of the machine's.
    """
    if tensor.untyped_storage().nbytes() == tensor.nbytes:
        return tensor
    if tensor.is_contiguous() and tensor.dtype != torch.bfloat16:  # NumPy has none
        return torch.from_numpy(tensor.numpy())
    return tensor.clone()


def _from_tensors(state: object) -> object:
    match state:
        case {"__array__": tensor}:
            return tensor.numpy()
        case dict():
            return {key: _from_tensors(value) for key, value in state.items()}
        case list() | tuple():
            return type(state)(_from_tensors(value) for value in state)
        case _:
            return state


def _hash(file: Path) -> str | None:
    """Return the SHA-256 of a regular file; None for anything else."""
    try:
        with open_regular(file) as stream:
            return hashlib.file_digest(cast(BufferedReader, stream), "sha256").hexdigest()
    except OSError:
        return None
