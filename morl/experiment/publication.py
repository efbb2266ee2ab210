"""Publication of a front: front.json and the policy files that it names appear together or not at all.

`front.json` names each policy file with its SHA-256, and its appearance is what publishes them. New policy files are
written beside the old ones first, under the name `.<id>-<sha256>.pt`; then front.json is replaced; then the files take
their names, and those of the front before are removed. A reader takes the file that has the hash, under whichever of
the two names, so that it finds the policies of the front that it sees at every moment, and also where the run was
killed in between.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from morl.board.files import read_whole
from morl.experiment.files import make_folder, remove, remove_tree, rename, write_synced, write_text
from morl.policy_files import policy_bytes
from morl.run_folder import FRONT, POLICIES, PolicyReference, json_text, parse_front

LARGEST_POLICY = 2**29
"""Bytes of a policy file that is read."""


class Publisher:
    """Publishes fronts in a run folder.

    Args:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def publish(self, front: Mapping[str, object], policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Publish a front and the policies behind it.

        Args:
            front: what front.json will say (`FrontRecord.to_json`); the policy files are added.
            policies: policy id -> the policy as plain data.

        Raises:
            OSError: naming the file, if one cannot be written; what was published before is untouched.
        """
        folder = self.run_dir / POLICIES
        make_folder(folder)
        files = []
        for policy_id, state in sorted(policies.items()):
            content = policy_bytes(state)
            file = PolicyReference(policy_id, hashlib.sha256(content).hexdigest())
            files.append(file)
            if not _holds(self.run_dir / file.name, file) and not _holds(staged(self.run_dir, file), file):
                remove_tree(staged(self.run_dir, file))
                write_synced(staged(self.run_dir, file), content)
        write_text(self.run_dir / FRONT, json_text({**front, "policies": [file.to_json() for file in files]}))
        settle(self.run_dir, files)


def staged(run_dir: Path, file: PolicyReference) -> Path:
    """Return where a policy file lies until front.json names it."""
    return run_dir / POLICIES / f".{file.policy_id}-{file.sha256}.pt"


def settle(run_dir: Path, files: Iterable[PolicyReference]) -> None:
    """Give policy files their names, and remove all that front.json does not name.

    Args:
        run_dir: the run folder.
        files: the policy files that front.json names.
    """
    names = set()
    for file in files:
        waiting = staged(run_dir, file)
        if waiting.is_file():
            rename(waiting, run_dir / file.name)
        names.add(Path(file.name).name)
    for other in sorted((run_dir / POLICIES).iterdir()):
        if other.name not in names:
            remove_tree(other)


def clean_up(run_dir: Path) -> None:
    """Finish or undo a publication in which a process was killed."""
    folder = run_dir / POLICIES
    remove(run_dir / f".partial-{FRONT}")
    if folder.is_symlink() or not folder.is_dir():
        return
    try:
        front = parse_front(read_whole(run_dir / FRONT))
    except FileNotFoundError:
        settle(run_dir, ())
    except (OSError, ValueError):
        return  # a front that cannot be read: its policies may be all that is left of it
    else:
        if front.policies:
            settle(run_dir, front.policies)


def read_policy_bytes(run_dir: Path, file: PolicyReference) -> bytes:
    """Return the content of a published policy file.

    Raises:
        ValueError: it is missing, or is not the file that front.json names, or front.json names others by now.
    """
    reason = "there is no such file"
    if (run_dir / POLICIES).is_symlink():
        raise ValueError(f"{run_dir / POLICIES} is a link, and links inside a run folder are not followed: remove it")
    for path in (run_dir / file.name, staged(run_dir, file)):
        try:
            content = read_whole(path, LARGEST_POLICY)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = str(error)
            continue
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return content
        reason = "its content does not match the SHA-256 in front.json"
    if _front_changed(run_dir, file):
        raise ValueError(
            f"run {run_dir} has another front than when it was read, because it was resumed or replaced:"
            f" morl.load({str(run_dir)!r}) reads it again"
        )
    raise ValueError(f"policy file {run_dir / file.name} is missing or damaged: {reason}")


def _front_changed(run_dir: Path, file: PolicyReference) -> bool:
    """Return whether front.json names a policy file no longer."""
    try:
        return file not in parse_front(read_whole(run_dir / FRONT)).policies
    except (OSError, ValueError):
        return False


def _holds(path: Path, file: PolicyReference) -> bool:
    """Return whether a path is a file with the content that `file` names."""
    try:
        return hashlib.sha256(read_whole(path, LARGEST_POLICY)).hexdigest() == file.sha256
    except OSError:
        return False
