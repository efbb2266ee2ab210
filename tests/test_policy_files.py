"""Policy files and pickles: quick, and whatever is done to a file, it is read or refused in one sentence."""

import copy
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.acting import Policy, load_policy
from morl.experiment.files import write_whole
from morl.policy_files import PolicyData, PolicySpec, _digest
from morl.policy_networks import PolicyNetwork
from morl.utilities import tchebycheff

OBSERVATION = np.array([0.3, -1.0, 2.0], np.float32)


def policy_of(head: Any = "gaussian", **changes: Any) -> Policy:
    discrete = head in ("categorical", "action-values")
    fields: dict[str, Any] = {
        "agent": "test",
        "head": head,
        "hidden_sizes": (8,),
        "observation_space": spaces.Box(-np.inf, np.inf, (3,), np.float32),
        "action_space": spaces.Discrete(4) if discrete else spaces.Box(-1.0, 1.0, (2,), np.float32),
        "objectives": ("speed", "energy"),
    }
    spec = PolicySpec(**fields | changes)
    network = PolicyNetwork(spec)
    random = np.random.default_rng(0)
    size = network.network.num_parameters + network.num_log_stds
    data = PolicyData(
        spec=spec,
        parameters=torch.as_tensor(random.normal(size=size), dtype=torch.float32),
        mean=random.normal(size=network.row_width),
        scale=random.uniform(0.5, 2.0, size=network.row_width),
        preference=np.array([0.25, 0.75]),
        bounds=np.array([[-1.0, -1.0], [1.0, 2.0]]),
    )
    scale = np.array([2.0, 1.0]) if spec.conditioned else None
    return Policy(data, np.array([0.5, 0.5]), 3, preference_scale=scale, env_id="some-env-v0")


# --- Pickles ----------------------------------------------------------------------------------------------------------


def acted(policy: Policy) -> Any:
    """Return a sample and the action of a policy; called in another process."""
    return policy.predict(OBSERVATION, deterministic=not policy.data.spec.stochastic)[0], policy.predict(OBSERVATION)[0]


@pytest.mark.parametrize("head", ["gaussian", "categorical", "deterministic", "action-values"])
def test_a_policy_pickles_with_its_random_stream(head: str) -> None:
    policy = policy_of(head, conditioned=True, utility="tchebycheff" if head == "action-values" else "linear")
    policy.seed(4)
    acted(policy)
    for other in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy), copy.copy(policy)):
        assert (other.policy_id, other.env_id) == (3, "some-env-v0")
        np.testing.assert_array_equal(other.conditioned_on([1, 0]).conditioning, [1.0, 0.0])
        twin = pickle.loads(pickle.dumps(policy))
        for _ in range(2):
            for found, expected in zip(acted(other), acted(twin), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_a_policy_acts_in_another_process(tmp_path: Path) -> None:
    policy = policy_of("action-values")
    given_utility = Policy(policy.data, policy.preference, utility=tchebycheff)
    (tmp_path / "policies").write_bytes(pickle.dumps([policy, given_utility]))
    code = (
        "import pickle, sys, numpy as np; policies = pickle.load(open(sys.argv[1], 'rb'));"
        "print([int(p.predict(np.array([0.3, -1.0, 2.0], np.float32))[0]) for p in policies],"
        " 'morl.envs' in sys.modules, 'morl.agents' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "policies"], capture_output=True, text=True, check=True
    )
    expected = [int(one.predict(OBSERVATION)[0]) for one in (policy, given_utility)]
    assert run.stdout == f"{expected} False False\n"


# --- Time -------------------------------------------------------------------------------------------------------------


def quickest(function: Any, times: int = 30) -> float:
    """Return the shortest processor time of a call in seconds: what it takes where nothing else runs."""
    found = []
    for _ in range(times):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found)


def test_loading_and_acting_take_milliseconds(tmp_path: Path) -> None:
    file = tmp_path / "policy.pt"
    policy_of(hidden_sizes=(256, 256)).save(file)
    policy = load_policy(file)
    assert quickest(lambda: load_policy(file).predict(OBSERVATION)) < 0.02
    assert quickest(lambda: policy.predict(OBSERVATION)) < 0.003


def test_a_policy_is_loaded_without_agents_and_environments(tmp_path: Path) -> None:
    policy_of().save(tmp_path / "policy.pt")
    code = (
        "import sys, morl; policy = morl.load_policy(sys.argv[1]); policy.predict([0.0, 0.0, 0.0]);"
        "print({'morl.envs', 'morl.agents', 'morl.experiment', 'mo_gymnasium', 'mujoco', 'numba', 'onnx',"
        " 'tensorboard', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "policy.pt"], capture_output=True, text=True, check=True
    )
    assert run.stdout == "set()\n"


# --- Damage -----------------------------------------------------------------------------------------------------------


def refused(content: bytes, folder: Path) -> str:
    """Return the sentence with which a file is refused; empty if it is read and acts."""
    file = folder / "policy.pt"
    file.write_bytes(content)
    sentence = ""
    try:
        policy = load_policy(file)
        masks = np.ones(4) if policy.data.spec.action_masks else None
        policy.predict(np.asarray(policy.data.spec.observation_space.sample()), action_masks=masks)
    except ValueError as error:
        sentence = str(error)
    assert "\n" not in sentence
    return sentence


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("whole") / "policy.pt"
    policy_of("categorical", conditioned=True).save(file)
    return file.read_bytes()


def test_a_truncated_file_is_refused(content: bytes, tmp_path: Path) -> None:
    assert refused(content, tmp_path) == ""
    for length in (*range(0, len(content), 97), len(content) - 1):
        assert "missing or damaged" in refused(content[:length], tmp_path)


@settings(deadline=None, max_examples=150)
@given(position=st.floats(0.0, 1.0, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_does_not_matter(
    position: float, value: int, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(content)
    changed[int(position * len(content))] ^= value
    folder = tmp_path_factory.getbasetemp()
    if not refused(bytes(changed), folder):  # in the padding of the archive
        original = folder / "original.pt"
        original.write_bytes(content)
        expected = load_policy(original).predict(OBSERVATION)[0]
        assert load_policy(folder / "policy.pt").predict(OBSERVATION)[0] == expected


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def archive(names: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, text in names.items():
            file.writestr(name, text)
    return stream.getvalue()


def test_foreign_files_are_refused_and_run_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    touched = tmp_path / "touched"
    stream = io.BytesIO()
    torch.save({"format": 2, "spec": Attack(touched)}, stream)
    whole = io.BytesIO()
    torch.save(Attack(touched), whole)
    policy_of().to_torchscript(tmp_path / "policy.torchscript")
    foreign = {
        "nothing": b"",
        "text": b"speed = 3\n",
        "json": json.dumps({"format": 2}).encode(),
        "a pickle": pickle.dumps(Attack(touched)),
        "a pickle of a policy": pickle.dumps(policy_of()),
        "an archive": archive({"a.txt": b"a"}),
        "a torch file with code": stream.getvalue(),
        "a torch file that is code": whole.getvalue(),
        "TorchScript": (tmp_path / "policy.torchscript").read_bytes(),
        "another ending": content + b"more",
    }
    for what, other in foreign.items():
        assert "missing or damaged" in refused(other, tmp_path / "work") or what == "another ending", what
    assert not touched.exists()
    with pytest.raises(ValueError, match=r"is missing or damaged: .*directory"):
        load_policy(tmp_path)


def test_a_tensor_that_would_not_fit_is_refused(tmp_path: Path) -> None:
    """A stored number that is repeated 10^12 times makes a small file."""
    policy_of("gaussian").save(tmp_path / "policy.pt")
    fields = torch.load(tmp_path / "policy.pt", weights_only=True)
    for name in ("parameters", "mean", "wanted"):
        changed = {**fields, name: torch.zeros(1).expand(10**12)}
        stream = io.BytesIO()
        torch.save(changed, stream)
        assert "would expand to 4,000,000," in refused(stream.getvalue(), tmp_path)


JUNK: list[Any] = [
    None,
    True,
    -1,
    0,
    10**18,
    float("nan"),
    "nowhere_at_all:function",
    [],
    [None],
    [[1, 2]],
    {},
    {"kind": "Box"},
    torch.zeros(2),
    torch.zeros(2, dtype=torch.float64),
    torch.zeros(3, 3, dtype=torch.int64),
    torch.zeros(4, dtype=torch.bfloat16),
    torch.zeros(2).to_sparse(),
]


@pytest.mark.parametrize("name", ["gaussian", "categorical", "action-values"])
def test_a_file_with_another_value_in_any_field_acts_or_is_refused(name: str, tmp_path: Path) -> None:
    """Somebody who writes a file with its right SHA-256 gets a policy or a sentence, and no other error."""
    policy_of(name, conditioned=True).save(tmp_path / "policy.pt")
    fields = torch.load(tmp_path / "policy.pt", weights_only=True)
    del fields["sha256"]
    spec = json.loads(fields["spec"])
    changes: list[dict[str, Any]] = [{key: junk} for key in fields for junk in JUNK]
    plain = [junk for junk in JUNK if not isinstance(junk, torch.Tensor)]
    changes += [{"spec": json.dumps({**spec, key: junk})} for key in (*spec, "unknown") for junk in plain]
    for part in ("observation_space", "action_space"):
        changes += [
            {"spec": json.dumps({**spec, part: {**spec[part], key: junk}})} for key in spec[part] for junk in plain
        ]
    text = json.dumps({**spec, "observation_space": "PLACE"})
    changes += [{"spec": "[" * 100_000}, *({"spec": text.replace('"PLACE"', nested(depth))} for depth in (400, 9_000))]
    sentences = 0
    for change in changes:
        changed = {**fields, **change}
        try:
            changed["sha256"] = _digest(changed)
        except (TypeError, RuntimeError):  # a tensor that has no bytes
            changed["sha256"] = ""
        stream = io.BytesIO()
        torch.save(changed, stream)
        sentences += bool(refused(stream.getvalue(), tmp_path))
    assert sentences > len(changes) / 2


WRONG_HEADERS: dict[str, tuple[Any, ...]] = {
    "agent": (3, None, ["pd-morl"]),
    "head": ("gauss", 3),
    "hidden_sizes": (["8"], [8.5], [True], 8, [-8], "8", [[8]]),
    "activation": ("reluu", 1),
    "normalization": ("batch", None),
    "image_size": ("0", 1.5, True, -1),
    "image_layers": ("", 3, [3], [[[["8", 3, 1]], 4]], [[[[8, 3, 0]], 4]], [[[], 0]]),
    "network": (3, None, ["a:b"]),
    "objectives": ("ab", [1, 2], ["speed", "speed"], ["speed", ""], [["speed"], "energy"], [], 3, None),
    "one_hot": (0, "no"),
    "conditioned": (1, None),
    "augmented_units": ([1.0], [0.0, 1.0], ["1", "2"], [1e999, 1.0], [True, 1.0], "12"),
    "reward_units": ([1.0], [-1.0, 1.0], [float("nan"), 1.0], ["1", "2"], 3),
    "utility": (3, None),
    "ensemble": (0, 1.5, True, "1"),
    "utility_of_shares": (0, "no"),
    "action_masks": (1, None),
    "memory_size": (-1, True, "4"),
    "shared_rows": (1, None),
    "policy_set": ("abc", [1, 2, 3], ["hyper", "2", 1], ["hyper", True, 1], {"form": "hyper"}),
    "preference_bins": (-1, True, "4"),
}


def with_fields(fields: dict[str, Any], **changes: Any) -> bytes:
    """Return a policy file with other fields and its right SHA-256."""
    changed = {key: value for key, value in (fields | changes).items() if key != "sha256"}
    stream = io.BytesIO()
    torch.save(changed | {"sha256": _digest(changed)}, stream)
    return stream.getvalue()


def test_every_field_of_the_specification_is_checked(tmp_path: Path) -> None:
    """A field of another type is not turned into the right one: a file that has it was written by somebody else."""
    policy_of(conditioned=True).save(tmp_path / "policy.pt")
    fields = torch.load(tmp_path / "policy.pt", weights_only=True)
    spec = json.loads(fields["spec"])
    assert set(spec) - {"observation_space", "action_space"} == set(WRONG_HEADERS)
    for name, wrong in WRONG_HEADERS.items():
        for value in wrong:
            sentence = refused(with_fields(fields, spec=json.dumps(spec | {name: value})), tmp_path)
            assert "policy.pt is damaged: the policy's " in sentence, (name, value)
            assert name in sentence, (name, value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("env_id", 3, "its env_id is 3, but must be the id of an environment"),
        ("env_id", ["a"], "its env_id is ['a'], but must be the id of an environment"),
        ("preference", torch.tensor([torch.inf, 0.0], dtype=torch.float64), "its preference is "),
        ("wanted", torch.tensor([0.5, -torch.inf], dtype=torch.float64), "its wanted is "),
        ("wanted", torch.zeros(3, dtype=torch.float64), "its wanted must be one number for each objective"),
        ("preference_scale", torch.tensor([0.0, 1.0], dtype=torch.float64), "its preference_scale is "),
        ("preference_scale", torch.tensor([torch.nan, 1.0], dtype=torch.float64), "its preference_scale is "),
        ("mean", torch.full((3,), torch.nan, dtype=torch.float64), "its mean must be finite numbers"),
        ("scale", torch.full((3,), torch.inf, dtype=torch.float64), "its scale must be finite numbers"),
        ("parameters", None, "its parameters must be finite numbers"),
    ],
)
def test_numbers_that_no_policy_has_are_named(name: str, value: Any, words: str, tmp_path: Path) -> None:
    policy_of(conditioned=True).save(tmp_path / "policy.pt")
    fields = torch.load(tmp_path / "policy.pt", weights_only=True)
    given = torch.full_like(fields["parameters"], torch.nan) if value is None else value
    assert f"policy.pt is damaged: {words}" in refused(with_fields(fields, **{name: given}), tmp_path)


@pytest.mark.parametrize("named", ["sys:exit", "builtins:exit", "os:abort", "os.path:join", "builtins:breakpoint"])
@pytest.mark.parametrize("field", ["network", "utility"])
def test_functions_of_python_itself_are_not_called_because_a_file_names_them(
    field: str, named: str, tmp_path: Path
) -> None:
    """Their modules are imported in every process, which says nothing of what the user trusts."""
    policy_of("action-values").save(tmp_path / "policy.pt")
    fields = torch.load(tmp_path / "policy.pt", weights_only=True)
    spec = json.loads(fields["spec"])
    sentence = refused(with_fields(fields, spec=json.dumps(spec | {field: named})), tmp_path)
    assert f"names the {field} {named!r}, whose module is not imported because a file names it" in sentence


def nested(depth: int) -> str:
    """Return the record of a space inside a tuple inside a tuple, and so on."""
    inner = '{"kind": "Discrete", "n": 2, "start": 0}'
    return '{"kind": "Tuple", "parts": [' * depth + inner + "]}" * depth


def test_a_field_that_is_missing_is_named(tmp_path: Path) -> None:
    policy_of().save(tmp_path / "policy.pt")
    fields = torch.load(tmp_path / "policy.pt", weights_only=True)
    del fields["sha256"]
    for name in ("spec", "parameters", "mean", "scale", "preference", "bounds", "wanted"):
        changed = {key: value for key, value in fields.items() if key != name}
        changed["sha256"] = _digest(changed)
        stream = io.BytesIO()
        torch.save(changed, stream)
        assert name in refused(stream.getvalue(), tmp_path)


class _Hostile:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", [{"a": _Hostile()}, torch.nn.Linear(2, 2), {"spec": _Hostile()}])
def test_what_is_more_than_data_is_refused_in_one_sentence(content: Any, tmp_path: Path, capsys: Any) -> None:
    torch.save(content, tmp_path / "policy.pt")
    with pytest.raises(ValueError, match=r"it holds more than numbers and words, which no policy file does$"):
        load_policy(tmp_path / "policy.pt")
    assert "executed" not in capsys.readouterr().out


def test_other_data_is_no_policy_file(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "policy.pt")
    with pytest.raises(ValueError, match=r"it is no policy file$"):
        load_policy(tmp_path / "policy.pt")


def test_saving_leaves_devices_and_pipes_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe', but must be the path of a file, and this is a device"):
        policy_of().save(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(OSError, match="It is a device, a pipe or a socket"):
        write_whole(tmp_path / "pipe", b"text")
    with pytest.raises(ValueError, match="must be the path of a file, and this is a folder"):
        policy_of().save(tmp_path)
    with pytest.raises(ValueError, match="file is '', but must be a path"):
        policy_of().save("")


def test_saving_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of()
    policy.save(tmp_path / "policy.pt")
    whole = (tmp_path / "policy.pt").read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match=r"policy\.pt cannot be written: No space left on device"):
        policy.save(tmp_path / "policy.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["policy.pt"]
    assert (tmp_path / "policy.pt").read_bytes() == whole
