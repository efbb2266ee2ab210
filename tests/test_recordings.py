"""The index of recorded videos: written and read back, damaged ones, and which recording belongs to which point."""

import json
from dataclasses import asdict, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from morl.recordings import Recording, VideoIndex, is_safe_name, parse_index, recordings_by_row

RECORDING = Recording(
    file="policy-3-seed-0-0123abcd.mp4",
    thumbnail="policy-3-seed-0-0123abcd.png",
    bytes=1234,
    policy_id=3,
    policy_sha256="a" * 64,
    row=1,
    preference=(0.1, 0.9),
    conditioning=(0.1 + 0.2, 0.7),
    seed=0,
    returns=((1.0, -2.0), (0.1, 1e-300)),
    undiscounted_returns=((1.5, -3.0), (0.2, 0.0)),
    lengths=(3, 4),
    width=320,
    height=240,
    seconds=2.5,
)
LINEAR = replace(RECORDING, preference=None, conditioning=None, row=0, file="b.gif", thumbnail="b.png", policy_id=2)


def test_an_index_is_read_back_as_it_was_written() -> None:
    index = VideoIndex().with_recordings((RECORDING, LINEAR), "sheet-1.png")
    assert parse_index(index.to_json().encode()) == index


def test_a_new_recording_replaces_the_one_of_the_same_file_and_is_the_newest() -> None:
    index = VideoIndex().with_recordings((RECORDING, LINEAR), "sheet-1.png")
    again = index.with_recordings((replace(RECORDING, seconds=9.0),), None)
    assert [recording.file for recording in again.recordings] == [LINEAR.file, RECORDING.file]
    assert again.recordings[-1].seconds == 9.0
    assert again.sheet == "sheet-1.png"


WRONG: dict[str, Any] = {
    "file": ["../x.mp4", "/etc/passwd", ".hidden.mp4", "a/b.mp4", "x.exe", "x.mp4\n", "", None, 3, ["x.mp4"]],
    "thumbnail": ["x.mp4", "..png", "../x.png", None],
    "bytes": [1.5, True, "3", 2**60],
    "policy_id": [None, "0"],
    "row": ["0", 0.5],
    "preference": [[], "x", [None, 1.0], [[1.0]]],
    "conditioning": ["x", [None]],
    "returns": [[], [[1.0, 2.0]], "x", [[1.0], [2.0, 3.0]]],
    "lengths": [[1], ["a", "b"], None],
    "seconds": [None, "x", []],
}


@pytest.mark.parametrize("key", WRONG)
def test_entries_that_are_none_are_left_out_and_the_others_kept(key: str) -> None:
    entries = [asdict(RECORDING) | {key: value} for value in WRONG[key]]
    del entries[0][key]
    content = json.dumps({"version": 1, "sheet": "../sheet.png", "videos": [*entries, asdict(LINEAR), None]})
    index = parse_index(content.encode())
    assert index == VideoIndex((LINEAR,), None, len(entries) + 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 2, "videos": []}', b"[" * 100_000, b"\xff"])
def test_what_is_no_index_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"videos/index\.json is damaged"):
        parse_index(content)


@given(st.text(max_size=30))
def test_safe_names_lead_nowhere(name: str) -> None:
    if is_safe_name(f"{name}.mp4", (".mp4",)):
        assert not {"/", "\\", "\0", "\n", ":"} & set(name)
        assert not name.startswith(".")


def test_recordings_belong_to_points_of_the_same_policy_under_the_same_preference() -> None:
    policy_ids = np.array([2, 3, 3])
    preferences = np.array([[np.nan, np.nan], [0.1 + 0.2, 0.7], [0.5, 0.5]])
    hashes = {2: "a" * 64, 3: "a" * 64}

    def found(*recordings: Recording, changed: dict[int, str] | None = None) -> dict[int, Recording]:
        return recordings_by_row(recordings, policy_ids, preferences, hashes | (changed or {}))

    newer = replace(RECORDING, file="newer.mp4")
    assert found(RECORDING, LINEAR, newer) == {0: LINEAR, 1: newer}
    assert found(RECORDING, changed={3: "b" * 64}) == {}  # the policy has learned since
    assert found(replace(RECORDING, row=2)) == {}  # it acts for another preference there
    assert found(replace(RECORDING, row=0)) == {}  # another policy
    assert found(replace(RECORDING, conditioning=(0.3, 0.7))) == {}  # not the same number
    assert found(*(replace(RECORDING, row=row) for row in (None, -1, 3, 2**40))) == {}
    assert found(replace(RECORDING, conditioning=(0.1,))) == {}
