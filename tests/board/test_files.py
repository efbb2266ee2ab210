"""Files that grow, are cut or are no regular files, as the board reads them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.board.files import GrowingLines, open_regular, read_whole


def test_each_line_is_read_once_and_half_a_line_later(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    lines = GrowingLines(path)
    assert lines.read().lines == [b"one"]
    assert lines.read().lines == []
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert lines.read().lines == [b"two", b"three"]


@pytest.mark.parametrize("how", ["replaced", "cut", "rewritten"])
def test_a_file_that_was_cut_is_read_from_its_start(how: str, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthree\n")
    lines = GrowingLines(path)
    lines.read()
    if how == "replaced":  # what morl resume does
        (tmp_path / "new").write_bytes(b"one\nfour\nfive\nsix\n")
        os.replace(tmp_path / "new", path)
    elif how == "cut":
        path.write_bytes(b"one\n")
    else:
        path.write_bytes(b"one\nfour\nfive\nsix\n")
    new = lines.read()
    assert new.restarted
    assert new.lines[0] == b"one"
    assert not lines.read().restarted


@given(content=st.lists(st.binary(max_size=40), max_size=12), cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(deadline=None, max_examples=60)
def test_lines_do_not_depend_on_how_the_file_grew(
    content: list[bytes], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = b"".join(line.replace(b"\n", b"") + b"\n" for line in content)
    path = tmp_path_factory.mktemp("grow") / "lines"
    path.write_bytes(b"")
    lines, found = GrowingLines(path, read_limit=64, line_limit=64), []
    start = 0
    for cut in [*sorted(cuts), len(whole)]:
        with path.open("ab") as file:
            file.write(whole[start : max(start, cut)])
        start = max(start, cut)
        for _ in range(len(whole) // 32 + 2):
            found += lines.read().lines
    assert found == [line for line in whole.split(b"\n") if line]


def test_a_line_without_end_is_left_out_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 1_000 + b"\nshort\n")
    lines = GrowingLines(path, read_limit=100, line_limit=50)
    read = [lines.read() for _ in range(15)]
    assert [line for new in read for line in new.lines] == [b"short"]
    assert sum(new.left_out for new in read) == 1
    assert read[0].unread > 0
    assert read[-1].unread == 0


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "missing"):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)
    with pytest.raises(OSError, match="more than"):
        read_whole(tmp_path / "secret", limit=3)
