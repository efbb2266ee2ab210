"""Every agent and solver on a device that is no CPU: it trains, logs, saves, resumes and acts there.

On the pretended device (`tests/toys/pretend.py`) a run ends bit for bit where eager updates on the CPU end. CUDA rounds
otherwise and draws other numbers: there a resumed run must end where an uninterrupted one ends.
"""

from pathlib import Path
from typing import Any, NamedTuple

import images
import numpy as np
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
from morl.learning.backends.eager import EagerGradientStep

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
    "pd-morl, large batches": pd(preferences_per_transition=4, exploration_spread=6.0, exploration_end=0.4),
    "pd-morl, images": pd(IMAGES),
    "pd-morl, own network": pd(network="networks:small"),
    "pd-morl, continuous": pd(CONTINUOUS),
    "pd-morl, continuous, 2 seeds, angles": pd(
        CONTINUOUS, seed=(0, 1), actor_angle=2.0, critic_angle=1.0, angle_start_step=40
    ),
    "pd-morl, continuous, large batches": pd(
        CONTINUOUS, seed=(0, 1), preferences_per_transition=2, exploration_noise=0.4, exploration_noise_min=0.1
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
    "mogfn-pc": Case("mogfn-pc", WALK, toys.TINY_MOGFN),
    "mogfn-pc, masked, weight decay": Case("mogfn-pc", MASKED, toys.TINY_MOGFN | {"weight_decay": 0.01}),
    "mogfn-pc, order": Case(
        "mogfn-pc", WALK, {"loss": "order-preserving", "parents": "tree", "batch_size": 5, "hidden_sizes": (8,)}
    ),
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
    "pd-morl, large batches",
    "pd-morl, continuous, large batches",
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


# --- What crosses, and what is launched ------------------------------------------------------------------------------


class Cost(NamedTuple):
    """What a step of all environments asked of the device."""

    to_device: int
    to_host: int
    launches: int
    learned: bool


def costs(case: Case, device: torch.device, num_envs: int = NUM_ENVS, count: int = 20) -> list[Cost]:
    """Return what steps cost in which the agent did not evaluate: it selects and exchanges policies then."""
    stated = problem(case.env)
    kind = find_agent(case.agent, stated.action_space)
    settings = dict(case.settings)
    preset = settings.pop("preset", None)
    if "backend" in kind.config_class.__dataclass_fields__:
        settings["backend"] = "eager"
    config = kind.config_class.preset(preset, **settings) if preset else kind.config_class(**settings)
    seeds = case.seed if isinstance(case.seed, tuple) else (case.seed,)
    agent: Any = kind(stated, config, case.seed, num_envs, device)
    random = np.random.default_rng(0)
    evaluations = []

    def evaluate(preferences: Any, *_: Any) -> Any:
        evaluations.append(agent.steps)
        return -random.random(np.shape(preferences))

    steps = agent.learn(morl.make_vec(case.env, num_envs * len(seeds)), 10_000, *[evaluate] * len(seeds))
    for _ in range(16):  # random exploration is over, and updates have begun
        next(steps)
    found = []
    for _ in range(count):
        before = (len(evaluations), agent.updates)
        with pretend.watched() as log:
            next(steps)
        if len(evaluations) == before[0]:
            counted = (log.total(kind) for kind in (pretend.TO_DEVICE, pretend.TO_HOST, pretend.KERNEL))
            found.append(Cost._make((*counted, agent.updates > before[1])))
    return found


def learns_from_rollouts(case: Case) -> bool:
    if case.agent in ("c-morl", "mo-tsivr-pg", "mogfn-pc"):
        return True
    return case.settings.get("solver") == "ppo" or "eupg" in str(case)


@pytest.mark.parametrize("name", [name for name in CASES if "sb3" not in name])
def test_the_data_of_a_step_cross_as_one_copy_in_and_one_out(name: str, device: torch.device) -> None:
    """Each copy waits for a GPU, however little it copies. Updates from replay add none.

    The sources of a replay travel with the transitions from the first update after an exchange on. Rollouts are
    learned from once in hundreds of steps; Stable-Baselines3 copies what it likes.
    """
    if device.type == "cuda":
        pytest.skip("copies are counted on the pretended device")
    case = CASES[name]._replace(settings=CASES[name].settings | LATE.get(CASES[name].agent, {}))
    found = costs(case, device)
    if learns_from_rollouts(case) or case.settings.get("preset") == "pg-morl":
        found = [cost for cost in found if not cost.learned]
    else:
        assert any(cost.learned for cost in found) or "key_pretraining_steps" in case.settings
    assert len(found) > 5
    assert {cost.to_device for cost in found} == {1}, found
    assert max(cost.to_host for cost in found) == 1, found


LATE = {"morl-d": {"exchange_every": 10_000}, "pd-morl": {"key_update_steps": 10_000}}
"""Agent -> settings with which it does not evaluate after the first steps."""


def test_updates_that_agents_describe_themselves_launch_few_operations(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-DDQN-HER, with acting and drawing, and a minibatch of C-MORL's interior point."""
    if device.type == "cuda":
        pytest.skip("launches are counted on the pretended device")
    for utility_loss, most in ((0.0, 89), (10.0, 98)):
        discrete = costs(pd(key_update_steps=10_000, hidden_sizes=(16, 16), utility_loss=utility_loss), device)
        assert min(cost.launches for cost in discrete if cost.learned) <= most
    counted = []
    own = EagerGradientStep.__call__

    def spied(self: EagerGradientStep, batch: Any, rates: Any, policy_loss: Any = None) -> Any:
        with pretend.watched() as log:
            ratios = own(self, batch, rates, policy_loss)
        if policy_loss is not None:
            counted.append(log.total(pretend.KERNEL))
        return ratios

    monkeypatch.setattr(EagerGradientStep, "__call__", spied)
    costs(c(CONTINUOUS, entropy_weight=0.0, hidden_sizes=(8, 8)), device, count=40)
    assert len(counted) > 10
    assert max(counted) <= 222


POPULATIONS: dict[str, tuple[Case, Case, int]] = {
    "pd-morl": (pd(seed=(0,)), pd(seed=(0, 1, 2, 3)), NUM_ENVS),
    "pd-morl, relabeled from the grid": (
        pd(seed=(0,), relabel_from="grid"),
        pd(seed=(0, 1, 2, 3), relabel_from="grid"),
        NUM_ENVS,
    ),
    "pd-morl, continuous": (pd(CONTINUOUS, seed=(0,)), pd(CONTINUOUS, seed=(0, 1, 2, 3)), NUM_ENVS),
    "pd-morl, continuous, angles": (
        pd(CONTINUOUS, seed=(0,), actor_angle=2.0),
        pd(CONTINUOUS, seed=(0, 1, 2, 3), actor_angle=2.0),
        NUM_ENVS,
    ),
    **{
        f"morl-d, {solver}": (
            d(env, OFF, solver=solver, population=2, updates_per_step=updates),
            d(env, OFF, solver=solver, population=8, updates_per_step=4 * updates),  # each has a quarter of the steps
            8,
        )
        for solver, env, updates in (
            ("sac", CONTINUOUS, 0.25),
            ("td3", CONTINUOUS, 0.25),
            ("dqn", WALK, 0.25),
            ("discrete-sac", WALK, 0.25),
        )
    },
    "morl-d, ppo": (
        d(WALK, ON, solver="ppo", population=2, rollout_steps=8),
        d(WALK, ON, solver="ppo", population=4, rollout_steps=8),
        8,
    ),
}
"""What learns -> a case with few learners or policies, one with more, and the number of environments of each."""


@pytest.mark.parametrize("name", POPULATIONS)
def test_more_learners_and_policies_launch_no_more(name: str, device: torch.device) -> None:
    """They draw, act and update together: only so is a population what a GPU is for."""
    if device.type == "cuda":
        pytest.skip("launches are counted on the pretended device")
    few, many, num_envs = POPULATIONS[name]
    found = [
        costs(case._replace(settings=case.settings | LATE[case.agent]), device, num_envs, count=16)
        for case in (few, many)
    ]
    for learned in {cost.learned for cost in found[0]}:
        fewest = [min(cost.launches for cost in each if cost.learned == learned) for each in found]
        assert fewest[0] == fewest[1]
