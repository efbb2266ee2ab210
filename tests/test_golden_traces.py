"""Golden traces: short training runs whose numbers must not change, bit for bit, for every agent and backend.

A trace holds the losses and other metrics of a run, its front, and the SHA-256 of the parameters that act. Bits depend
on the processor and on the versions of the libraries that do the arithmetic, so a trace is compared only where it was
recorded; elsewhere its test is skipped. `pytest tests/test_golden_traces.py --update-golden` records traces anew: do so
only with a change that is meant to change results, and say so in the pull request (CONTRIBUTING.md).
"""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import morl
from morl.agents import AGENTS
from morl.experiment import checkpoint

TRACES = Path(__file__).parent / "golden" / "traces"

DISCRETE, CONTINUOUS = "deep-sea-treasure-v0", "water-reservoir-v0"
SHORT, SHORT_CONTINUOUS = "fruit-tree-v0", "lab/concave-arc-v0"
"""Environments of which many episodes fit into a trace."""
PD_MORL: dict[str, Any] = {
    "hidden_sizes": (16, 16),
    "batch_size": 16,
    "updates_per_step": 0.5,
    "random_exploration_steps": 40,
    "learning_starts": 40,
    "key_update_steps": 150,
    "buffer_size": 300,
    "preference_divisions": 6,
}
PD_MORL_DISCRETE = PD_MORL | {"exploration_steps": 200}
PD_MORL_CONTINUOUS = PD_MORL | {"utility_loss": 1.0}
C_MORL: dict[str, Any] = {
    "hidden_sizes": (16,),
    "initial_steps": 120,
    "initial_divisions": 2,
    "samples_per_update": 20,
    "minibatches": 2,
    "epochs": 2,
    "selected": 2,
    "extension_updates": 2,
    "snapshot_updates": 2,
    "snapshot_episodes": 1,
}
MORL_D: dict[str, Any] = {
    "population": 3,
    "exchange_every": 120,
    "evaluation_episodes": 1,
    "hidden_sizes": (16,),
}
CONDITIONED = MORL_D | {"batch_size": 8, "random_exploration_steps": 16, "learning_starts": 16, "buffer_size": 300}
OFF_POLICY = CONDITIONED | {"offline_updates": 2, "workers": 1}
ON_POLICY = MORL_D | {"rollout_steps": 8, "epochs": 2, "minibatches": 2}
GMORL: dict[str, Any] = {
    "hidden_sizes": (16,),
    "batch_size": 16,
    "random_exploration_steps": 40,
    "buffer_size": 300,
    "learning_rate_half_life": 50.0,
}
MO_PG: dict[str, Any] = {"method": "mo-pg", "population": 2, "initial_episodes": 3, "hidden_sizes": (8,)}
MO_TSIVR_PG = MO_PG | {"method": "mo-tsivr-pg", "episodes": 2, "inner_steps": 3}
MOGFN_ORDER: dict[str, Any] = {"loss": "order-preserving", "batch_size": 4, "hidden_sizes": (16,)}
MOGFN: dict[str, Any] = {"batch_size": 4, "hidden_sizes": (16,), "hidden_sizes_z": (8,), "preference_bins": 4}
BOUND = {"constraints": {"flood": ">= -60"}}

CASES: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "pd-morl-discrete": ("pd-morl", DISCRETE, PD_MORL_DISCRETE, ("eager",)),
    "pd-morl-continuous": ("pd-morl", CONTINUOUS, PD_MORL_CONTINUOUS, ("eager", "numba")),
    "pd-morl-continuous-paper": (
        "pd-morl",
        CONTINUOUS,
        PD_MORL | {"preset": "paper", "key_pretraining_steps": 120},
        ("eager", "numba"),
    ),
    "pd-morl-continuous-options": (
        "pd-morl",
        CONTINUOUS,
        PD_MORL_CONTINUOUS | {"loss": "huber", "hidden_norm": "layer", "actor_angle": 2.0, "noise_correlation": 0.5},
        ("eager", "numba"),
    ),
    "pd-morl-discrete-hyper": ("pd-morl", DISCRETE, PD_MORL_DISCRETE | {"networks": "hyper"}, ("eager",)),
    "pd-morl-continuous-combination": (
        "pd-morl",
        CONTINUOUS,
        PD_MORL_CONTINUOUS | {"networks": "combination"},
        ("eager",),
    ),
    "c-morl-discrete": ("c-morl", DISCRETE, C_MORL | {"interpolate": True}, ("eager", "numba")),
    "c-morl-ipo": ("c-morl", CONTINUOUS, C_MORL, ("eager", "numba")),
    "c-morl-ipo-constraint": ("c-morl", CONTINUOUS, C_MORL | BOUND, ("eager", "numba")),
    "c-morl-cpo": ("c-morl", CONTINUOUS, C_MORL | {"solver": "cpo"}, ("eager", "numba")),
    "c-morl-lagrangian": ("c-morl", CONTINUOUS, C_MORL | {"solver": "lagrangian"} | BOUND, ("eager", "numba")),
    "c-morl-reference-code": ("c-morl", CONTINUOUS, C_MORL | {"solver": "reference-code"}, ("eager", "numba")),
    "mo-tsivr-pg": ("mo-tsivr-pg", SHORT, MO_TSIVR_PG, ("eager",)),
    "mo-tsivr-pg-nash": ("mo-tsivr-pg", SHORT, MO_TSIVR_PG | {"utility": "nash"}, ("eager",)),
    "mo-tsivr-pg-continuous": ("mo-tsivr-pg", SHORT_CONTINUOUS, MO_TSIVR_PG | {"optimizer": "gradient"}, ("eager",)),
    "mo-tsivr-pg-baseline": ("mo-tsivr-pg", SHORT, MO_PG, ("eager",)),
    "morl-d-dqn": ("morl-d", DISCRETE, OFF_POLICY, ("eager",)),
    "morl-d-dqn-tchebycheff": ("morl-d", DISCRETE, OFF_POLICY | {"preset": "tchebycheff"}, ("eager",)),
    "morl-d-gpi-ls": ("morl-d", DISCRETE, CONDITIONED | {"preset": "gpi-ls"}, ("eager",)),
    "morl-d-sac-hyper": ("morl-d", CONTINUOUS, CONDITIONED | {"networks": "hyper"}, ("eager",)),
    "morl-d-discrete-sac": ("morl-d", DISCRETE, OFF_POLICY | {"solver": "discrete-sac"}, ("eager",)),
    "morl-d-eupg": ("morl-d", DISCRETE, ON_POLICY | {"preset": "eupg"}, ("eager", "numba")),
    "morl-d-sac": ("morl-d", CONTINUOUS, OFF_POLICY | {"preset": "sb-psa"}, ("eager", "numba")),
    "morl-d-sac-tchebycheff": ("morl-d", CONTINUOUS, OFF_POLICY | {"preset": "moea-d"}, ("eager",)),
    "morl-d-td3": ("morl-d", CONTINUOUS, OFF_POLICY | {"solver": "td3"}, ("eager", "numba")),
    "morl-d-transfer": ("morl-d", CONTINUOUS, OFF_POLICY | {"preset": "transfer"}, ("eager", "numba")),
    "gmorl": ("gmorl", DISCRETE, GMORL, ("eager",)),
    "gmorl-rows": ("gmorl", "mec-offloading-v0", GMORL | {"preferences": "even"}, ("eager",)),
    "mogfn-pc": ("mogfn-pc", "hyper-grid-v0", MOGFN, ("eager",)),
    "mogfn-pc-tree": ("mogfn-pc", SHORT, MOGFN | {"parents": "tree", "scalarization": "weighted-log-sum"}, ("eager",)),
    "mogfn-pc-order": ("mogfn-pc", "hyper-grid-v0", MOGFN_ORDER, ("eager",)),
    "morl-d-ppo": ("morl-d", CONTINUOUS, ON_POLICY | {"solver": "ppo"}, ("eager", "numba")),
}
"""Trace -> agent, environment, settings that make it short, and the backends that execute it."""
RUNS = [(case, backend) for case, (*_, backends) in CASES.items() for backend in backends]
SCHEDULE: dict[str, Any] = {
    "num_envs": 6,
    "evaluate_every": 240,
    "log_every": 60,
    "evaluation_divisions": 4,
    "evaluation_episodes": 1,
    "device": "cpu",
}
CLOCKS = ("wall_seconds", "steps_per_second")


def platform_of_traces() -> dict[str, str]:
    """Return what the bits of a trace depend on."""
    packages = {name: version(name) for name in ("numpy", "numba", "torch")}
    return {"processor": _processor(), "system": platform.system(), **packages}


def _processor() -> str:
    """Return the processor's family: the instruction sets decide how sums are split."""
    facts: dict[str, str] = {}
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    flags = set(facts.get("flags", "").split())
    sets = [name for name in ("avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile") if name in flags]
    return " ".join([platform.machine(), facts.get("vendor_id", "unknown"), *sets])


def record(case: str, backend: str, run_dir: Path) -> dict[str, Any]:
    """Train and return the trace: metrics line by line, the front, and the hash of the acting parameters."""
    agent, env, settings, backends = CASES[case]
    if len(backends) > 1:
        settings = settings | {"backend": backend}
    morl.train(agent, env, total_steps=480, seed=7, run_dir=run_dir, config=settings, **SCHEDULE)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    front = json.loads((run_dir / "front.json").read_text())
    policies = {file.stem: checkpoint.load_file(file) for file in sorted((run_dir / "policies").glob("*.pt"))}
    parameters = {name: acting_parameters(agent, policy) for name, policy in policies.items()}
    return {
        "metrics": [{name: value for name, value in line.items() if name not in CLOCKS} for line in lines],
        "front": {name: front[name] for name in ("points", "indicators", "policy_ids", "updates", "training_steps")},
        "parameters": {name: _sha256(actor) for name, actor in parameters.items()},
    }


def acting_parameters(agent: str, policy: dict[str, Any]) -> Any:
    """Return the array that the hash of a policy is taken of: with MORL/D, statistics of observations included."""
    if agent == "morl-d" and policy["mean"] is not None:
        return np.concatenate([np.asarray(policy[name]) for name in ("parameters", "mean", "scale")])
    return policy.get("actor", policy.get("parameters"))


def _sha256(tensor: Any) -> str:
    array = np.ascontiguousarray(np.asarray(tensor).ravel())
    return hashlib.sha256(array.tobytes()).hexdigest()


@pytest.mark.parametrize(("case", "backend"), RUNS)
def test_training_leaves_the_golden_trace(
    case: str, backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = TRACES / f"{case}.{backend}.json"
    if request.config.getoption("--update-golden"):
        trace = record(case, backend, tmp_path / "run")
        file.write_text(json.dumps({"platform": platform_of_traces(), **trace}, indent=1) + "\n")
        return
    golden = json.loads(file.read_text())
    if golden.pop("platform") != platform_of_traces():
        pytest.skip("recorded on another processor or with other versions")
    found = json.loads(json.dumps(record(case, backend, tmp_path / "run")))
    # Policies of fronts that a better one has replaced are no longer kept, though some traces still hold them.
    published = {policy: golden["parameters"][policy] for policy in found["parameters"]}
    assert published
    for part, expected in (golden | {"parameters": published}).items():
        assert found[part] == expected, f"{part} of {file.name}"


def test_every_agent_has_a_trace_and_every_trace_an_agent() -> None:
    assert {agent for agent, *_ in CASES.values()} == set(AGENTS)
    assert {file.name for file in TRACES.glob("*")} == {f"{case}.{backend}.json" for case, backend in RUNS}


@pytest.mark.parametrize("case", CASES)
def test_a_trace_has_learnt_something(case: str) -> None:
    for backend in CASES[case][3]:
        golden = json.loads((TRACES / f"{case}.{backend}.json").read_text())
        assert golden["front"]["updates"] > 0
        assert golden["parameters"]
