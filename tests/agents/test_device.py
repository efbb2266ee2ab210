"""Every agent and solver on a device that is no CPU: it trains, logs, saves, resumes and acts there.

On the pretended device (`tests/toys/pretend.py`) a run ends bit for bit where eager updates on the CPU end. CUDA rounds
otherwise and draws other numbers: there a resumed run must end where an uninterrupted one ends.
"""

from pathlib import Path
from typing import Any, NamedTuple

import images
import pretend
import pytest
import torch
import toys
from masked import MASKED
from pretend_graph import PretendGraph

import morl
from morl.agents import AGENTS, MORLD, find_agent
from morl.agents.morl_d.settings_in_use import BUILT_IN
from morl.agents.morl_d.validation import choose_solver
from morl.agents.pd_morl.config import ContinuousConfig
from morl.envs.core.registry import problem
from morl.evaluation import ActInputs
from morl.experiment import components
from morl.experiment.run import experiment_of
from morl.experiment.units import RewardUnits
from morl.learning.backends import cuda_graph

WALK, CONTINUOUS = "toy-walk-v0", "toy-continuous-walk-v0"
IMAGES, CONTINUOUS_IMAGES = images.env_id("image-dict"), images.env_id("image-dict", continuous=True)
NUM_ENVS = 6
STEPS = 156

PD = toys.TINY | {"key_update_steps": 60}
PD_CONTINUOUS = toys.TINY_CONTINUOUS | {"key_update_steps": 60}
C = toys.TINY_CMORL
OFF = toys.TINY_MORLD_OFF_POLICY
ON = toys.TINY_MORLD_ON_POLICY
SB3 = toys.TINY_MORLD | {"population": 2}
GRU = {"memory": "gru", "memory_size": 5, "memory_steps": 2}
PAPER = {**ContinuousConfig.PRESETS["paper"], **toys.TINY_CONTINUOUS, "random_exploration_steps": 20}


class Case(NamedTuple):
    """An agent in an environment; settings make it small."""

    agent: str
    env: str
    settings: dict[str, Any]
    seed: Any = 3


def pd(env: str = WALK, seed: Any = 3, **settings: Any) -> Case:
    return Case("pd-morl", env, (PD_CONTINUOUS if "continuous" in env else PD) | settings, seed)


def c(env: str = WALK, **settings: Any) -> Case:
    return Case("c-morl", env, C | settings)


def d(env: str, base: dict[str, Any], **settings: Any) -> Case:
    return Case("morl-d", env, base | settings)


TRANSFER = {"neighbourhood": "nearest", "transfer": "best"}
CASES: dict[str, Case] = {
    "pd-morl": pd(),
    "pd-morl, 2 seeds, 2 critics, grid": pd(seed=(0, 1), critics=2, relabel_from="grid", one_hot=True),
    "pd-morl, paper's score": pd(target_action="paper", learning_rate_half_life=10.0, relabel_from="dirichlet-corners"),
    "pd-morl, masked": pd(MASKED),
    "pd-morl, images": pd(IMAGES),
    "pd-morl, own network": pd(network="networks:small"),
    "pd-morl, continuous": pd(CONTINUOUS),
    "pd-morl, continuous, 2 seeds, angles": pd(
        CONTINUOUS, seed=(0, 1), actor_angle=2.0, critic_angle=1.0, angle_start_step=40
    ),
    "pd-morl, continuous, bfloat16": pd(CONTINUOUS, precision="bfloat16", hidden_sizes=(16, 16, 16)),
    "pd-morl, continuous, paper": Case("pd-morl", CONTINUOUS, PAPER | {"key_pretraining_steps": 40}),
    "pd-morl, continuous, images": pd(CONTINUOUS_IMAGES),
    "pd-morl, hypernetwork": pd(networks="hyper"),
    "pd-morl, continuous, combination": pd(CONTINUOUS, networks="combination"),
    "c-morl": c(interpolate=True),
    "c-morl, continuous, constraints": c(CONTINUOUS, constraints={"rest": ">= -9"}),
    "c-morl, trust region": c(CONTINUOUS, solver="cpo"),
    "c-morl, primal-dual": c(solver="lagrangian", constraints={"rest": "<= 9"}),
    "c-morl, reference code": c(solver="reference-code"),
    "c-morl, masked": c(MASKED),
    "c-morl, trust region, memory, masked": c(MASKED, solver="cpo", memory="gru", memory_size=5, memory_steps=4),
    "c-morl, memory": c(CONTINUOUS, memory="gru", memory_size=5, memory_steps=4),
    "c-morl, images": c(IMAGES),
    "morl-d, sac": d(CONTINUOUS, OFF, preset="sb-psa"),
    "morl-d, sac, tchebycheff, shared layers": d(
        CONTINUOUS, toys.TINY_MORLD_CONDITIONED, preset="tchebycheff", networks="shared-layers"
    ),
    "morl-d, sac, transfer": d(CONTINUOUS, OFF, replay="neighbours", **TRANSFER),
    "morl-d, sac, accrued": d(
        CONTINUOUS, OFF, augmented_state=True, temperature=0.1, utility="smooth-tchebycheff", scale="range"
    ),
    "morl-d, sac, images": d(CONTINUOUS_IMAGES, OFF),
    "morl-d, td3": d(CONTINUOUS, OFF, solver="td3", neighbourhood="nearest", transfer="soft"),
    "morl-d, dqn": d(WALK, OFF, solver="dqn", replay="shared"),
    "morl-d, dqn, pbi": d(WALK, OFF, preset="moea-d", utility="pbi"),
    "morl-d, dqn, one network": d(WALK, toys.TINY_MORLD_CONDITIONED, preset="gpi-ls"),
    "morl-d, dqn, masked, some selected": d(MASKED, OFF, selected=1),
    "morl-d, discrete sac": d(WALK, OFF, solver="discrete-sac"),
    "morl-d, discrete sac, masked": d(MASKED, OFF, solver="discrete-sac"),
    "morl-d, ppo": d(WALK, ON, preset="pg-morl"),
    "morl-d, ppo, continuous, transfer": d(CONTINUOUS, ON, solver="ppo", **TRANSFER),
    "morl-d, ppo, memory": d(WALK, ON, solver="ppo", **GRU),
    "morl-d, ppo, masked": d(MASKED, ON, solver="ppo"),
    "morl-d, ppo, images": d(IMAGES, ON, solver="ppo"),
    "morl-d, eupg": d(WALK, ON, preset="eupg"),
    "morl-d, sac, hypernetwork": d(CONTINUOUS, toys.TINY_MORLD_CONDITIONED, networks="hyper"),
    "gmorl": Case("gmorl", WALK, toys.TINY_GMORL),
    "c-morl, combined gradients": c(combiner="upgrad"),
    "morl-d, td3, combined gradients": d(CONTINUOUS, OFF, solver="td3", combiner="cagrad"),
    "morl-d, ppo, combined gradients": d(WALK, ON, solver="ppo", combiner="nash-mtl"),
    "mo-tsivr-pg": Case("mo-tsivr-pg", WALK, toys.TINY_TSIVR),
    "mo-tsivr-pg, continuous": Case("mo-tsivr-pg", CONTINUOUS, toys.TINY_TSIVR | {"optimizer": "gradient"}),
    "mo-tsivr-pg, masked": Case("mo-tsivr-pg", MASKED, toys.TINY_TSIVR),
    "morl-d, sb3:SAC": d(CONTINUOUS, SB3, solver="sb3:SAC"),
    "morl-d, sb3:PPO": d(WALK, SB3 | {"rollout_steps": 4, "batch_size": 8}, solver="sb3:PPO"),
    "morl-d, sb3:DQN": d(WALK, SB3 | {"learning_starts": 12}, solver="sb3:DQN"),
}
"""What runs -> the agent, its environment and its settings."""


@pytest.fixture(autouse=True)
def cuda_is_the_device(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `device = "cuda"` be the device of the test."""
    found = {"cpu": torch.device("cpu"), "cuda": device}
    monkeypatch.setattr(components, "resolve_device", found.__getitem__)
    if device.type != "cuda":
        monkeypatch.setattr(components, "gpu_facts", lambda: {"name": "pretended", "driver": None, "cuda": None})


def train(case: Case, run_dir: Path, device: str, stop_at: int | None = None, backend: str = "eager") -> None:
    config = dict(case.settings)
    fields = find_agent(case.agent, problem(case.env).action_space).config_class.__dataclass_fields__
    if "backend" in fields and not config.get("solver", "").startswith("sb3:"):
        config["backend"] = backend
    settings: dict[str, Any] = {
        "total_steps": STEPS,
        "device": device,
        "config": config,
        "loggers": [],
        "reward_units": "environment",
        "num_envs": NUM_ENVS,
        "evaluate_every": STEPS // 2,
        "log_every": 48,
        "evaluation_divisions": 2,
        "evaluation_episodes": 1,
    }
    if stop_at is not None:
        settings["on_step"] = lambda progress: progress.step >= stop_at
    if isinstance(case.seed, tuple):
        morl.train_seeds(case.agent, case.env, case.seed, run_dir=run_dir, **settings)
    else:
        morl.train(case.agent, case.env, seed=case.seed, run_dir=run_dir, **settings)


def result(run_dir: Path) -> Any:
    """Return everything that a run has left: metrics, fronts and all state; nothing but the device may differ."""
    dirs = sorted(run_dir.glob("seed-*")) or [run_dir]
    return [
        {
            "metrics": toys.lines(one / "metrics.jsonl"),
            "front": toys.front(one),
            "states": {name: toys.states(one, name)[name] for name in ("agent", "environment")},
        }
        for one in dirs
    ]


def without_marks(state: Any) -> Any:
    """Return a state in which the states of the pretended device's generators look like the CPU's."""
    match state:
        case dict():
            return {name: without_marks(value) for name, value in state.items()}
        case list() | tuple():
            return [without_marks(value) for value in state]
        case torch.Tensor() if state.dtype == torch.uint8 and state.shape == (5064,):
            return state[:-8]
    return state


def difference(one: Path, other: Path) -> str:
    """Return where two runs first differ; an empty string where they do not."""
    return toys.difference(without_marks(result(one)), without_marks(result(other)))


def load_and_act(run_dir: Path) -> None:
    """Load the newest checkpoint into a new agent, and do what may come before its next update: log, act, export."""
    experiment = experiment_of(run_dir, None, trust=True)
    agent = experiment.build_agent(RewardUnits.none(experiment.problem.num_objectives))
    agent.load_state_dict(toys.states(run_dir, "agent")["agent"])
    assert all(isinstance(value, float) for value in agent.metrics().values())
    ids, preferences = agent.policies(experiment.evaluation_preferences)
    evaluator = experiment.build_training_and_evaluation().evaluator
    evaluator(agent.act, ids, preferences, 1, 0, ActInputs.of(agent))
    assert agent.export_policies().keys() >= set(ids.tolist())


@pytest.mark.filterwarnings("ignore:You are trying to run PPO on the GPU:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_run_on_the_device_ends_where_it_ends_on_the_cpu(name: str, device: torch.device, tmp_path: Path) -> None:
    """Stable-Baselines3's solvers draw from the device's global generator: they end where they end there in one go."""
    case = CASES[name]
    reference = "cuda" if device.type == "cuda" or "sb3" in name else "cpu"
    train(case, tmp_path / "whole", reference)
    several = isinstance(case.seed, tuple)  # they train as one batch, and are resumed one by one
    train(case, tmp_path / "parts", "cuda", None if several else STEPS // 2 + 12)
    if not several:
        load_and_act(tmp_path / "parts")
        run = morl.resume(tmp_path / "parts", loggers=[])
        assert run.policy([0.5, 0.5]).data.parameters.device.type == "cpu"
    assert difference(tmp_path / "parts", tmp_path / "whole") == ""


def test_every_agent_and_every_solver_is_tested() -> None:
    assert {case.agent for case in CASES.values()} == set(AGENTS)
    solvers = set()
    for case in CASES.values():
        if case.agent == "morl-d":
            settings = dict(case.settings)
            config = MORLD.config_class.preset(settings.pop("preset", "vanilla"), **settings)
            solvers.add(choose_solver(config, problem(case.env)).name)
    assert solvers > set(BUILT_IN)


GRAPHS = (
    "pd-morl",
    "pd-morl, masked",
    "pd-morl, continuous, 2 seeds, angles",
    "pd-morl, continuous, paper",
    "pd-morl, hypernetwork",
    "pd-morl, continuous, combination",
    "c-morl",
    "c-morl, memory",
    "morl-d, sac, accrued",
    "morl-d, sac, tchebycheff, shared layers",
    "morl-d, td3",
    "morl-d, dqn, one network",
    "morl-d, discrete sac, masked",
    "morl-d, ppo",
)
"""Cases that are also trained by captured updates."""


@pytest.mark.parametrize("name", GRAPHS)
def test_captured_updates_leave_the_same_run(
    name: str, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA it is enough that they run: eager runs drift away from them by rounding."""
    monkeypatch.setattr(PretendGraph, "every", [])
    case = CASES[name]
    if device.type != "cuda":
        monkeypatch.setattr(cuda_graph, "CudaGraph", PretendGraph)
    train(case, tmp_path / "captured", "cuda", backend="cuda-graph")
    dirs = sorted((tmp_path / "captured").glob("seed-*")) or [tmp_path / "captured"]
    assert toys.strict_json((dirs[0] / "system.json").read_text())["update_backend"] == "cuda-graph"
    if device.type == "cuda":
        return
    assert sum(graph.replays for graph in PretendGraph.every) > 0
    train(case, tmp_path / "eager", "cpu")
    assert difference(tmp_path / "captured", tmp_path / "eager") == ""


def test_a_run_continues_on_another_device(device: torch.device, tmp_path: Path) -> None:
    """From the CPU, with two threads, to the device, and back; a sentence says that it is not the same run any more."""
    case = d(CONTINUOUS, OFF | {"workers": 2}, solver="sac")
    train(case, tmp_path / "run", "cpu", 36)
    assert toys.strict_json((tmp_path / "run" / "system.json").read_text())["gpu"] is None
    run = morl.resume(tmp_path / "run", 84, device="cuda", loggers=[])
    assert (run.settings.device, toys.front(tmp_path / "run")["training_steps"]) == ("cuda", 84)
    note = "the run was trained on cpu up to step 36 and continues on cuda: random numbers and roundings are not those"
    assert note in (tmp_path / "run" / "resume-note.txt").read_text()
    system = toys.strict_json((tmp_path / "run" / "system.json").read_text())
    assert system["device"] == "cuda"
    assert set(system["gpu"]) == {"name", "driver", "cuda"}
    run = morl.resume(tmp_path / "run", 120, device="cpu", loggers=[])
    assert (run.settings.device, toys.front(tmp_path / "run")["training_steps"]) == ("cpu", 120)
    assert 'device = "cpu"' in (tmp_path / "run" / "config.toml").read_text()


def test_one_thread_launches_the_operations_of_a_device(device: torch.device) -> None:
    """Two threads would wait for each other to launch operations, and launch twice as many."""
    stated = problem(CONTINUOUS)
    for settings in ({"workers": 2, "hidden_sizes": (8,)}, {"workers": None, "hidden_sizes": (128,)}):
        config = MORLD.config_class(**OFF | settings | {"backend": "eager"})
        agents = [MORLD(stated, config, 0, NUM_ENVS, place) for place in (torch.device("cpu"), device)]
        assert [len(agent.solver.groups) for agent in agents] == [2, 1]


COPIES: dict[str, tuple[Case, int, int]] = {
    "pd-morl": (pd(learning_starts=10_000), 2, 1),
    "pd-morl, masked": (pd(MASKED, learning_starts=10_000), 4, 1),
    "pd-morl, continuous, 2 seeds": (pd(CONTINUOUS, seed=(0, 1), learning_starts=10_000), 2, 1),
    "c-morl": (c(samples_per_update=1_000, initial_steps=10_000), 1, 1),
    "morl-d, sac": (d(CONTINUOUS, OFF, learning_starts=10_000), 3, 1),
    "morl-d, ppo": (d(WALK, ON, solver="ppo", rollout_steps=1_000, exchange_every=10_000), 1, 1),
}
"""What steps without updates -> copies to the device, and back, of a step of all environments."""


@pytest.mark.parametrize("name", COPIES)
def test_a_step_of_all_environments_crosses_in_few_copies(name: str, device: torch.device) -> None:
    """Each waits for a GPU, however little it copies: columns travel together."""
    if device.type == "cuda":
        pytest.skip("copies are counted on the pretended device")
    case, to_device, to_host = COPIES[name]
    stated = problem(case.env)
    kind = find_agent(case.agent, stated.action_space)
    seeds = case.seed if isinstance(case.seed, tuple) else (case.seed,)
    agent: Any = kind(stated, kind.config_class(**case.settings), case.seed, NUM_ENVS, device)
    envs = morl.make_vec(case.env, NUM_ENVS * len(seeds))
    steps = agent.learn(envs, 10_000, *[lambda preferences, *_: preferences] * len(seeds))
    for _ in range(5):  # random exploration is over
        next(steps)
    with pretend.watched() as log:
        next(steps)
    found = (log.total(pretend.TO_DEVICE), log.total(pretend.TO_HOST), log.total(pretend.WAIT))
    assert found == (to_device, to_host, 0), log.lines(pretend.TO_DEVICE, pretend.TO_HOST, pretend.WAIT)
