"""`morl export`: a policy of a run as a file, in every format, or one line that says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import in_onnx, in_torchscript, onnx_facts, onnx_session

import morl

pytestmark = pytest.mark.usefixtures("without_figures")


NODES = np.arange(3)


def test_every_format_holds_the_measured_policy(fork: Path, tmp_path: Path, morl_cli: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    expected, _ = morl.load(fork).policy([0.7, 0.3]).predict(NODES)
    for name in ("onnx", "torchscript", "pt"):
        code, shown, complaint = morl_cli("export", fork, "--preference", "7", "3", "--format", name)
        assert (code, complaint) == (0, "")
        assert shown.startswith("Policy(pd-morl, action-values, preference=")
        assert shown.endswith(f"written to policy.{name}\n")
    loaded = morl.load_policy("policy.pt")
    assert loaded.env_id == "toy-fork-v0"
    assert loaded.predict(NODES)[0].tolist() == expected.tolist()
    for run in (in_onnx(Path("policy.onnx")), in_torchscript(Path("policy.torchscript"))):
        assert run({"observation": NODES})[0].tolist() == expected.tolist()
    assert onnx_facts(onnx_session(Path("policy.onnx")))["env"] == "toy-fork-v0"


def test_one_graph_serves_every_preference(fork: Path, tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "any.torchscript"
    code, shown, _ = morl_cli("export", fork, "--conditioned", "--format", "torchscript", "--output", file)
    assert (code, shown) == (0, f"the network of pd-morl, for every preference, written to {file}\n")
    act = in_torchscript(file)
    for preference in ([1.0, 0.0], [2.0, 6.0], [0.0, 0.1]):
        expected, _ = morl.load(fork).policy(preference, conditioned=True).predict(NODES)
        found = act({"observation": NODES, "preference": np.tile(np.array(preference), (3, 1))})[0]
        assert found.tolist() == expected.tolist()
    args = ("--conditioned", "--fixed-preference", "--preference", "0.2", "0.8", "--format", "torchscript")
    assert morl_cli("export", fork, *args, "--output", file)[0] == 0
    expected, _ = morl.load(fork).policy([0.2, 0.8], conditioned=True).predict(NODES)
    assert in_torchscript(file)({"observation": NODES})[0].tolist() == expected.tolist()
    morl_cli("export", fork, "--conditioned", "--format", "pt", "--output", tmp_path / "any.pt")
    conditioned = morl.load_policy(tmp_path / "any.pt").conditioned_on([0.2, 0.8])
    assert conditioned.predict(NODES)[0].tolist() == expected.tolist()


def test_units_and_scales_are_part_of_the_conversion(fork: Path) -> None:
    run = morl.load(fork)
    for normalized in (False, True):
        policy = run.policy([3.0, 1.0], conditioned=True, normalized=normalized)
        weights = np.array([3.0, 1.0]) * run.front.units / (run.front.scales if normalized else 1.0)
        np.testing.assert_allclose(policy.conditioning, weights / weights.sum())
        other = run.policy([0.5, 0.5], conditioned=True, normalized=normalized).conditioned_on([3.0, 1.0])
        np.testing.assert_allclose(other.conditioning, policy.conditioning)


def test_a_row_and_its_distribution(members: Path, tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "row.torchscript"
    args = ("--row", "0", "--distribution", "--format", "torchscript", "--output", file)
    assert morl_cli("export", members, *args)[0] == 0
    action, probabilities = in_torchscript(file)({"observation": np.zeros((1, 2), np.float32)})
    assert action.tolist() == morl.load(members).policy(row=0).predict(np.zeros((1, 2), np.float32))[0].tolist()
    assert probabilities.sum() == pytest.approx(1.0)
    assert probabilities.argmax() - 1 == action[0]


WRONG: dict[str, tuple[str, tuple[str, ...], str]] = {
    "no policy": ("fork", (), "one of preference and row must be given, not None and None"),
    "two policies": ("fork", ("--preference", "1", "1", "--row", "0"), "one of preference and row must be given"),
    "another length": ("fork", ("--preference", "1"), "must have 2 weights"),
    "no such row": ("fork", ("--row", "99"), "row is 99, but must lie between 0 and"),
    "nothing to fix": ("fork", ("--row", "0", "--fixed-preference"), "--fixed-preference is given without"),
    "no preference to fix": ("fork", ("--conditioned", "--fixed-preference"), "is given without --preference"),
    "conditioned row": ("fork", ("--row", "0", "--conditioned"), "--conditioned and --row are both given"),
    "utility of a row": ("fork", ("--row", "0", "--utility", "tchebycheff"), "--utility has no effect with"),
    "utility of all": ("fork", ("--conditioned", "--utility", "tchebycheff"), "--utility has no effect with"),
    "onnx by name": ("fork", ("--row", "0", "--format", "pt", "--output", "x.onnx"), "but --format is pt"),
    "pt by name": ("fork", ("--row", "0", "--output", "x.pt"), "but --format is onnx"),
    "no distribution": ("fork", ("--row", "0", "--distribution"), "distribution is True, but this policy of pd-morl"),
    "no distribution in pt": ("fork", ("--row", "0", "--distribution", "--format", "pt"), "are of graphs"),
    "not conditioned": ("members", ("--conditioned",), "the policies of c-morl take no preference"),
    "no format": ("fork", ("--row", "0", "--format", "caffe"), "caffe"),
    "no folder": ("fork", ("--row", "0", "--format", "pt", "--output", "nowhere/x.pt"), "nowhere is not a folder"),
    "another ending": ("fork", ("--row", "0", "--output", "x.foo"), "--format is onnx, whose files end in .onnx"),
    "no ending": ("fork", ("--row", "0", "--output", "x"), "--format is onnx, whose files end in .onnx"),
    "a graph's ending": ("fork", ("--row", "0", "--format", "pt", "--output", "x.ts"), "whose files end in .pt"),
    "no run": ("", ("--row", "0"), "is not a run folder"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(
    what: str, fork: Path, members: Path, tmp_path: Path, morl_cli: Any, monkeypatch: Any
) -> None:
    run, args, message = WRONG[what]
    monkeypatch.chdir(tmp_path)
    code, shown, complaint = morl_cli("export", {"fork": fork, "members": members}.get(run, tmp_path / "no"), *args)
    assert (code, shown, complaint.count("\n")) == (2, "", 1)
    assert message in complaint
    assert list(tmp_path.iterdir()) == []
