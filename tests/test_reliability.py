"""benchmarks/reliability.py: a slice of every campaign runs, and its instruments see what they are there to see."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = ROOT / "benchmarks" / "reliability.py"
CAMPAIGNS = ("kills", "damage", "hostile", "configurations", "pareto", "disks", "toml")
PROBE = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import reliability
folder = Path(sys.argv[2])
"""
"""What a test's own code begins with: the campaigns fork, which a process of pytest with its threads must not."""


def probe(code: str, folder: Path) -> Any:
    """Run code that prints JSON, after `PROBE`, in a process of its own."""
    asked = [sys.executable, "-c", PROBE + code, str(COMMAND.parent), str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(600)
def test_a_slice_of_every_campaign_runs(tmp_path: Path) -> None:
    asked = [sys.executable, COMMAND, "--cases", "1", "--json", tmp_path / "tried.json"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=560, cwd=ROOT)
    tallies = {tally["campaign"]: tally for tally in json.loads((tmp_path / "tried.json").read_text())}
    assert tuple(tallies) == CAMPAIGNS
    for name, tally in tallies.items():
        assert tally["tried"] + tally["skipped"] == 1, tally
        assert tally["tried"] - tally["survived"] == len(tally["failures"])
        assert f"| {name} | {tally['tried']} | {tally['survived']} | {tally['skipped']} |" in done.stdout
        assert not [failure for failure in tally["failures"] if failure["case"] == "the campaign itself"], tally
        assert tally["skipped"] == 0 or (name == "disks" and "mounted" in tally["skips"][0]), tally
    lost = sum(tally["tried"] - tally["survived"] for tally in tallies.values())
    assert done.returncode == (1 if lost else 0), done.stdout + done.stderr


def test_children_that_fail_hang_and_are_killed_are_told_apart(tmp_path: Path) -> None:
    code = """
from _reliability.children import in_child, complaints_of, command
def fails(): raise KeyError("lost")
def hangs(): time.sleep(60)
def refuses(): print("morl: seed is -1, but must be an integer >= 0", file=sys.stderr); sys.exit(2)
def mute(): sys.exit(2)
fine = in_child(lambda: {"answer": [1, 2]}, folder)
ends = {name: in_child(function, folder, 1.0) for name, function in dict(f=fails, h=hangs, r=refuses, m=mute).items()}
ends["killed"] = in_child(hangs, folder, 5.0, kill_after=0.2)
print(json.dumps([fine.answer, {name: [end.code, len(complaints_of(end, "it"))] for name, end in ends.items()}]))
"""
    start = time.monotonic()
    answer, ends = probe(code, tmp_path)
    assert answer == {"answer": [1, 2]}
    assert ends == {"f": [70, 1], "h": [None, 1], "r": [2, 0], "m": [2, 1], "killed": [-9, 1]}
    assert time.monotonic() - start < 100


def test_the_guillotine_falls_at_every_operation_of_a_folder(tmp_path: Path) -> None:
    code = """
from _reliability.kills import Guillotine, watched
from _reliability.children import in_child
def act(folder):
    (folder / "made").mkdir()
    (folder / "made" / "file").write_text("x")
    os.replace(folder / "made" / "file", folder / "moved")
    (folder / "made").rmdir()
    (folder / "moved").unlink()
(folder / "inside").mkdir()
count = in_child(watched(act, folder / "inside", 0), folder / "child").answer
left = []
for at in range(1, count + 2):
    one = folder / str(at); one.mkdir()
    end = in_child(watched(act, one, at), folder / "child")
    left.append([end.code, sorted(path.name for path in one.rglob("*"))])
print(json.dumps([count, left]))
"""
    count, left = probe(code, tmp_path)
    assert count == 5
    assert left == [[-9, []], [-9, ["made"]], [-9, ["file", "made"]], [-9, ["made", "moved"]], [-9, ["moved"]], [0, []]]


def test_another_front_is_a_difference(tmp_path: Path) -> None:
    code = """
import shutil
from _reliability.runs import SUBJECTS, contents_of, differences
from _reliability.children import in_child
SUBJECTS["pd-morl"].train(folder / "run", 60, checkpoint_minutes=5.0)
whole = contents_of(folder / "run")
found = {"nothing": differences(whole, folder / "run")}
for name, old, new in (("front.json", '"training_steps": 60', '"training_steps": 61'), ("fronts.jsonl", "60", "61")):
    shutil.copytree(folder / "run", folder / name)
    file = folder / name / name
    file.write_text(file.read_text().replace(old, new))
    found[name] = differences(whole, folder / name)
shutil.copytree(folder / "run", folder / "left")
(folder / "left" / ".partial-front.json").touch()
found["left"] = differences(whole, folder / "left")
print(json.dumps(found))
"""
    found = probe(code, tmp_path)
    assert found["nothing"] == []
    assert [len(found[name]) for name in ("front.json", "fronts.jsonl", "left")] == [1, 1, 1]
    assert found["left"] == ["left behind: .partial-front.json"]


def test_wrong_pareto_numbers_are_seen(tmp_path: Path) -> None:
    code = """
from _reliability import pareto as campaign, exact
from fractions import Fraction
import numpy as np
import morl.pareto as real
open_faults = ("history", "inf")  # of magnitudes beyond 1e150, and of memory orders
right = [wrong for _, wrong in campaign.batch(list(range(60))) if wrong and not any(f in wrong for f in open_faults)]
for name in campaign.FUNCTIONS:
    function = getattr(real, name)
    def off(*arguments, function=function, **options):
        answer = function(*arguments, **options)
        return ~answer if getattr(answer, "dtype", None) == bool else answer + np.float64(1.5)
    if name not in ("ParetoArchive", "hypervolume_approximate"):
        setattr(real, name, off)
wrong = {label.split(",")[0] for label, wrong in campaign.batch(list(range(400))) if wrong}
print(json.dumps([right, sorted(wrong)]))
"""
    right, wrong = probe(code, tmp_path)
    assert right == []
    assert len(wrong) >= 14


def test_exact_definitions_by_hand(tmp_path: Path) -> None:
    code = """
from _reliability import exact
import numpy as np
points, zero = exact.numbers(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 1.0], [2.0, 2.0]])), [0, 0]
numbers = lambda found: [float(one.value) for one in found]
print(json.dumps({
    "non_dominated": exact.non_dominated(points),
    "ranks": exact.ranks(points),
    "hypervolume": numbers(exact.hypervolume(points, zero)),
    "contributions": numbers(exact.contributions(points, zero)),
    "improvement": numbers(exact.improvement(points, [3, 3], zero)),
    "sparsity": numbers(exact.sparsity(points)),
    "utility": numbers(exact.expected_utility(points, [[1, 0], [0, 1]])),
    "igd": numbers(exact.igd(points, [[4, 5]])),
    "epsilon": numbers(exact.epsilon(points, [[3, 3]])),
}))
"""
    assert probe(code, tmp_path) == {
        "non_dominated": [True, True, True, False, False],
        "ranks": [0, 0, 0, 1, 0],
        "hypervolume": [6.0],
        "contributions": [1.0, 0.0, 1.0, 0.0, 0.0],
        "improvement": [3.0],
        "sparsity": [2.0],
        "utility": [3.0],
        "igd": [pytest.approx(13**0.5)],
        "epsilon": [1.0],
    }


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- reliability: begin -->\nold\n<!-- reliability: end -->\nafter\n")
    return page


def test_the_table_is_written_between_its_markers(page: Path, tmp_path: Path) -> None:
    code = """
tally = reliability.Tally("kills")
for survived in (True, True, False, None):
    tally.add(reliability.Case("one", survived, "why"))
chosen = reliability.parsed(["--quick", "--seed", "3"])
reliability.write_table(folder / "page.md", [tally], chosen)
reliability.write_table(folder / "page.md", [tally], chosen)
print(json.dumps((folder / "page.md").read_text()))
"""
    text = probe(code, tmp_path)
    assert text.startswith("before\n<!-- reliability: begin -->\n| campaign | tried | survived | skipped |\n")
    assert text.count("| kills | 3 | 2 | 1 |") == 1
    assert "`benchmarks/reliability.py --quick --seed 3`" in text
    assert text.endswith("<!-- reliability: end -->\nafter\n")
    assert "old" not in text


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("nothing\n")
    code = """
try:
    reliability.write_table(folder / "page.md", [], reliability.parsed([]))
except ValueError as error:
    print(json.dumps(str(error)))
"""
    assert "has no lines <!-- reliability: begin -->" in probe(code, tmp_path)
    assert (tmp_path / "page.md").read_text() == "nothing\n"


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--only", "toml", "--table", "page.md"]])
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, COMMAND, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert "error:" in done.stderr
