"""Whatever the files of one run hold: the answers about the others stay the same, and everything stays strict JSON."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from board_runs import library_of, write_run
from hypothesis import HealthCheck, example, given, settings

from morl.board import answers
from morl.board.library import Library
from morl.board.page import page_data, write_page
from morl.board.text import printable, shown_value, whole_number

MARKUP = "</script><img src=x onerror=alert(1)>[red]\x1b[2J\u202e$\\frac{a}{b}$"
DEEP: Any = "deep"
for _ in range(200):
    DEEP = [DEEP]

HOSTILE = st.one_of(
    st.sampled_from(
        [
            None, True, -1, 0, 2**53, 2**63, 2**70, -(2**70), 10**400, 0.5, 1e308, -1e308, 5e-324,
            float("nan"), float("inf"), -float("inf"), "", "x" * 100_000, MARKUP, "\ud800", "1", "__proto__", [], {},
            [[]], [None], [[None, None]], [1, 2, 3], [[1, 2], [3]], [[1e308, -1e308]], {"__proto__": 1},
            {"a": {"b": [1]}}, DEEP,
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
)  # fmt: skip
"""Values of wrong types, sizes and magnitudes, as JSON and Python spell them."""

FRONT_KEYS = st.sampled_from(
    ["agent", "env", "env_options", "seed", "objectives", "discount", "reference_point", "points", "preferences",
     "policy_ids", "indicators", "undiscounted_points", "constraints", "policies", "standard_errors", "choice_points",
     "units", "scales", "known_front", "indicator_errors",
     "training_steps", "wall_seconds",
     "pretraining_steps", "evaluation_steps", "selected_at_step", "unknown"]
)  # fmt: skip
LINE_KEYS = st.sampled_from(["training_steps", "points", "preferences", "policy_ids", "indicators"])
CLOCK_KEYS = st.sampled_from(
    ["training_steps", "pretraining_steps", "evaluation_steps", "wall_seconds", "selection/hypervolume"]
)


def spelled(value: Any) -> str:
    """Return JSON as a careless program writes it: NaN, and numbers beyond float64."""
    return json.dumps(value).replace("-Infinity", "-1e999").replace("Infinity", "1e999")


def placed(record: Any, key: str, value: Any, inside: bool) -> Any:
    """Return a record with a hostile value for a key, or for the first entry of what the key holds."""
    if inside and isinstance(record.get(key), list) and record[key]:
        value = [value, *record[key][1:]]
    elif inside and isinstance(record.get(key), dict):
        value = {**record[key], MARKUP: value, "hypervolume": value}
    return {**record, key: value}


def answers_about(library: Library) -> dict[str, Any]:
    """Return all answers as strict JSON reads them back."""
    library.refresh()
    names = list(library.folders)
    said = {
        "listing": answers.listing(library),
        "fronts": answers.fronts(library, names),
        "histories": answers.histories(library, names),
        "curves": answers.curves(library, names)["runs"],
        "folds": answers.folds(library, names),
        "earlier": answers.folds(library, names, 1_500),
    }
    return json.loads(json.dumps(said, allow_nan=False))


def about_good(said: dict[str, Any]) -> dict[str, Any]:
    (listed,) = (run for run in said["listing"]["runs"] if run["name"] == "good")
    return {"listing": listed, **{name: said[name]["good"] for name in ("fronts", "histories", "curves")}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one setting: `good`, and `bad`, whose files the tests change."""
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("good", "bad")):
        write_run(root / name, seed=seed, env="other-v0" if name == "bad" else "board-test-v0")
    shutil.copytree(root / "bad", root.parent / f"{root.name}-kept")
    return root


@pytest.fixture(scope="module")
def expected(runs: Path) -> dict[str, Any]:
    return about_good(answers_about(library_of(runs)))


def restore(runs: Path) -> Path:
    """Return the folder of the run `bad` as it was at first."""
    shutil.rmtree(runs / "bad", ignore_errors=True)
    shutil.copytree(runs.parent / f"{runs.name}-kept", runs / "bad")
    return runs / "bad"


QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(key=FRONT_KEYS, value=HOSTILE, inside=st.booleans())
@example(key="policy_ids", value=2**70, inside=True)
@example(key="discount", value=10**400, inside=False)
@example(key="env_options", value=float("nan"), inside=True)
@example(key="wall_seconds", value=float("nan"), inside=False)
@example(key="reference_point", value=[-1e308, -1e308], inside=False)
@example(key="objectives", value=[MARKUP, MARKUP], inside=False)
@example(key="known_front", value=[[1e308, -1e308], [-1e308, 1e308]], inside=False)
@example(key="known_front", value=[[0.0, 1.0]] * 5_000, inside=False)
@example(key="scales", value=[5e-324, 1e308], inside=False)
@example(key="constraints", value={"a": {"violations": [None] * 8}}, inside=False)
@example(key="policy_ids", value=[2**40] * 8, inside=False)
@example(key="training_steps", value=1e308, inside=False)
@QUICK
def test_any_front_leaves_other_runs_alone(
    key: str, value: Any, inside: bool, runs: Path, expected: dict[str, Any]
) -> None:
    bad = restore(runs)
    record = json.loads((bad / "front.json").read_text())
    (bad / "front.json").write_text(spelled(placed(record, key, value, inside)))
    assert about_good(answers_about(library_of(runs))) == expected


@given(key=FRONT_KEYS.filter(lambda key: key not in ("env", "env_options", "objectives", "discount")), value=HOSTILE)
@example(key="reference_point", value=[-1e308, -1e308])
@example(key="reference_point", value=[-1e300, 0.0])
@example(key="points", value=[[1e308, 1e308]] * 8)
@example(key="indicators", value={"hypervolume": 1e308, "sparsity": -1e308})
@QUICK
def test_a_damaged_seed_leaves_the_other_seeds_alone(key: str, value: Any, tmp_path_factory: Any) -> None:
    root = tmp_path_factory.mktemp("seeds")
    for seed in range(3):
        write_run(root / f"seed-{seed}", seed=seed)
    record = json.loads((root / "seed-2" / "front.json").read_text())
    (root / "seed-2" / "front.json").write_text(spelled({**record, key: value}))
    said = answers_about(library_of(root))
    alone = answers_about(Library(runs={f"seed-{seed}": root / f"seed-{seed}" for seed in range(2)}))
    for name in ("seed-0", "seed-1"):
        (here,) = (run for run in said["listing"]["runs"] if run["name"] == name)
        (there,) = (run for run in alone["listing"]["runs"] if run["name"] == name)
        if key == "reference_point":
            assert here["indicators"].keys() == there["indicators"].keys()
        else:
            assert here["indicators"] == there["indicators"]
        for answer in ("fronts", "histories"):
            assert said[answer][name] == alone[answer][name]
        assert said["curves"][name]["training_steps"] == alone["curves"][name]["training_steps"]
    assert said["folds"]


@given(file=st.sampled_from(["fronts.jsonl", "metrics.jsonl"]), data=st.data(), value=HOSTILE, inside=st.booleans())
@QUICK
def test_any_history_leaves_other_runs_alone(
    file: str, data: st.DataObject, value: Any, inside: bool, runs: Path, expected: dict[str, Any]
) -> None:
    bad = restore(runs)
    key = data.draw(LINE_KEYS if file == "fronts.jsonl" else CLOCK_KEYS)
    lines = (bad / file).read_text().splitlines()
    records = [spelled(placed(json.loads(line), key, value, inside)) for line in lines]
    (bad / file).write_text("\n".join([lines[0], *records, lines[-1]]) + "\n")
    if data.draw(st.booleans()):
        (bad / "front.json").unlink()  # then the last evaluation is shown
    assert about_good(answers_about(library_of(runs))) == expected


TOML = {
    "nested tables": "[" + ".".join("a" * 1_500) + "]\nx = 1\n",
    "nested arrays": "x = " + "[" * 5_000 + "]" * 5_000,
    "nested inline tables": "x = " + "{a = " * 500 + "1" + "}" * 500,
    "numbers without end": "seed = nan\ndiscount = inf\n[env_options]\na = nan\nb = -inf\n",
    "a huge number": "seed = 0x" + "f" * 10_000 + "\ndiscount = 0x" + "f" * 10_000,
    "a number of many digits": "seed = " + "9" * 10_000,
    "dates": "seed = 1979-05-27\nenv = 07:32:00\n[env_options]\na = 1979-05-27T07:32:00Z\n",
    "lists": 'seed = [1]\nenv = ["x"]\nagent_name = {a = 1}\n[env_options]\na = [[1, 2], {b = nan}]\n',
    "many settings": "".join(f"key{number} = {number}\n" for number in range(5_000)),
    "long text": f'agent_name = "{"x" * 1_000_000}"\n',
    "markup": json.dumps({"agent_name": MARKUP})[1:-1].replace(": ", " = ") + "\n",
    "no text": bytes(range(256)).decode("latin-1"),
}


@pytest.mark.parametrize("with_front", [True, False])
@pytest.mark.parametrize("name", TOML)
def test_any_config_leaves_other_runs_alone(name: str, with_front: bool, runs: Path, expected: dict[str, Any]) -> None:
    bad = restore(runs)
    (bad / "config.toml").write_text(TOML[name], encoding="utf-8")
    if not with_front:
        (bad / "front.json").unlink()
    said = answers_about(library_of(runs))
    assert about_good(said) == expected
    listed = {run["name"]: run for run in said["listing"]["runs"]}
    assert listed["bad"]["points"] == 8  # its own front is shown all the same
    assert "\x1b" not in json.dumps(said, ensure_ascii=False)


@given(content=st.binary(max_size=200), file=st.sampled_from(["front.json", "fronts.jsonl", "metrics.jsonl"]))
@QUICK
def test_any_bytes_leave_other_runs_alone(content: bytes, file: str, runs: Path, expected: dict[str, Any]) -> None:
    (restore(runs) / file).write_bytes(content)
    assert about_good(answers_about(library_of(runs))) == expected


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Fail where the body waits for something that never comes."""

    def stop(*_: object) -> None:
        raise AssertionError("waited for a file that never ends")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


KINDS = ["link to a file", "link to a pipe", "link to itself", "pipe", "folder", "device"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["config.toml", "front.json", "fronts.jsonl", "metrics.jsonl"])
def test_only_regular_files_are_read_and_none_is_waited_for(
    file: str, kind: str, runs: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    path = restore(runs) / file
    secret = tmp_path / file
    secret.write_bytes(path.read_bytes().replace(b"pd-morl", b"secret!"))
    path.unlink()
    if kind == "link to a file":
        path.symlink_to(secret)
    elif kind == "link to a pipe":
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    before = secret.read_bytes()
    with in_time(30):
        library = library_of(runs)
        answers_about(library)
        said = answers_about(library)  # notes on its history appear once it has been read
        write_page([runs / "good", runs / "bad"], tmp_path / "page.html")
    assert about_good(said) == expected
    assert "secret!" not in json.dumps(said) + (tmp_path / "page.html").read_text()
    assert secret.read_bytes() == before
    notes = [note for run in [*said["listing"]["runs"], *said["listing"]["others"]] for note in run["notes"]]
    assert any(file in note for note in notes), notes


def test_links_in_a_circle_and_names_of_any_bytes_are_no_obstacle(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "good", tmp_path / "good")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("nowhere")
    odd = os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m\n"
    shutil.copytree(os.fsencode(runs / "good"), odd)
    said = answers_about(library_of(tmp_path))
    assert len(said["listing"]["runs"]) == 2
    page_data(library_of(tmp_path))


def test_a_run_that_fails_unexpectedly_is_noted_beside_the_others(
    runs: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    restore(runs)
    original = answers.curve_of

    def fails(folder: Any, *arguments: Any) -> Any:
        if folder.name == "bad":
            raise ZeroDivisionError("a fault that nobody thought of\x1b[2J")
        return original(folder, *arguments)

    monkeypatch.setattr(answers, "curve_of", fails)
    library = library_of(runs)
    assert list(answers.curves(library, ["good", "bad"])["runs"]) == ["good"]
    assert about_good(answers_about(library)) == expected
    (bad,) = (run for run in answers.listing(library)["runs"] if run["name"] == "bad")
    assert bad["notes"][0].startswith("cannot be shown: ZeroDivisionError: a fault that nobody thought of")
    assert "\x1b" not in bad["notes"][0]
    assert "cannot be shown" in caplog.text


def test_a_page_shows_the_good_runs_and_lists_the_others(runs: Path, tmp_path: Path) -> None:
    bad = restore(runs)
    (bad / "front.json").write_text("[" * 100_000)
    (bad / "fronts.jsonl").unlink()
    write_page([runs / "good", bad, tmp_path / "missing"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    start = page.index('id="morl-data">') + len('id="morl-data">')
    listing = json.loads(page[start : page.index("</script>", start)])["runs"]
    assert [run["name"] for run in listing["runs"]] == [(runs / "good").as_posix()]
    assert [run["name"] for run in listing["others"]] == [bad.as_posix(), (tmp_path / "missing").as_posix()]
    with pytest.raises(ValueError, match="no front to show"):
        write_page([bad], tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_a_history_without_end_is_read_up_to_a_bound(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "fronts.jsonl").open("r+b") as file:
        file.truncate(2**40)  # a terabyte of nothing
    done = threading.Event()

    def read() -> None:
        page_data(library_of(tmp_path))
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(60)


@given(text=st.text(max_size=300))
def test_printable_text_is_one_short_line_without_control_codes(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert (shown == text) or not text.isprintable() or len(text) > 200
    shown.encode()


def test_long_values_stay_different_and_odd_ones_become_text() -> None:
    assert printable("x" * 1_000 + "a") != printable("x" * 1_000 + "b")
    assert shown_value(16**10_000) == "(int that cannot be shown)"
    assert [shown_value(value) for value in (True, 3, 0.5, 2**53 + 1)] == [True, 3, 0.5, "9007199254740993"]
    assert [whole_number(value) for value in (3, 3.0, 3.5, True, "3", float("nan"), 1e300)] == [3, 3, *[None] * 5]
