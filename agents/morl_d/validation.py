"""Validation of the settings: combinations that cannot work are refused before a run starts, with the reason."""

from collections.abc import Mapping
from importlib import import_module

from gymnasium import spaces

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.settings_in_use import OFF_POLICY, ON_POLICY, SOFT, Solver, ineffective, refuse_ineffective
from morl.learning.combiners import check_combiner
from morl.protocols import Problem

CONTINUOUS = ("sac", "td3", "ppo")
DISCRETE = ("dqn", "discrete-sac", "ppo", "eupg")


def choose_solver(config: Config, problem: Problem) -> Solver:
    """Return the solver that settings and the action space choose.

    Args:
        config: settings.
        problem: the environment.

    Raises:
        ValueError: there is no such solver, or it does not fit the spaces.
    """
    discrete = isinstance(problem.action_space, spaces.Discrete)
    bounded = isinstance(problem.action_space, spaces.Box) and problem.action_space.is_bounded()
    if not discrete and not bounded:
        raise ValueError(
            f"{problem.id} has actions {problem.action_space}, but MORL/D needs a Discrete choice or a bounded Box"
        )
    name = config.solver
    if name == "auto":
        return Solver.built_in("dqn" if discrete else "sac")
    if name.startswith("sb3:"):
        adapter = import_module(
            "morl.agents.morl_d.solvers.sb3_arguments"
        )  # other solvers do not import Stable-Baselines3
        return Solver(name, adapter.settings_read(name.removeprefix("sb3:")))
    if name not in (*CONTINUOUS, *DISCRETE):
        known = ", ".join(sorted({*CONTINUOUS, *DISCRETE}))
        raise ValueError(f"solver is {name!r}, but must be one of auto, {known}, or sb3:NAME")
    fitting = DISCRETE if discrete else CONTINUOUS
    if name not in fitting:
        raise ValueError(
            f"solver is {name!r}, but {problem.id} has actions {problem.action_space}: take one of {', '.join(fitting)}"
        )
    return Solver.built_in(name)


def check(config: Config, problem: Problem, num_envs: int) -> None:
    """Check that settings fit each other, the environment and the number of sub-environments.

    Args:
        config: settings.
        problem: the environment.
        num_envs: number of sub-environments.

    Raises:
        ValueError: they do not; one sentence says why.
    """
    solver = choose_solver(config, problem)
    _check_reference(config, problem)
    _check_utility(config, solver.name)
    _check_combiner(config, problem, solver.name)
    _check_novelty(config)
    _check_cooperation(config)
    _check_networks(config, solver.name)
    _check_masks(config, problem, solver.name)
    refuse_ineffective(config, solver)
    check_num_envs(config, solver.name, num_envs)


def _check_memory(config: Config, solver_name: str, envs_per_policy: int) -> None:
    if config.memory == "none" or solver_name != "ppo":
        return
    if config.rollout_steps % config.memory_steps:
        raise ValueError(
            f"rollout_steps is {config.rollout_steps}, but must be a multiple of memory_steps, {config.memory_steps}"
        )
    sequences = config.rollout_steps // config.memory_steps * envs_per_policy
    if config.minibatches > sequences:
        raise ValueError(
            f"minibatches is {config.minibatches}, but a rollout of a policy has only {sequences} sequences of"
            f" memory_steps: {config.rollout_steps} rollout_steps / {config.memory_steps} x {envs_per_policy}"
            " environments"
        )


def takes_masks(config: Config, problem: Problem) -> bool:
    """Return whether the solver that the settings choose can be used where the environment gives action masks.

    Args:
        config: settings.
        problem: the environment.
    """
    name = choose_solver(config, problem).name
    if not isinstance(problem.action_space, spaces.Discrete):
        return False
    if name.startswith("sb3:"):
        return bool(import_module("morl.agents.morl_d.solvers.sb3_arguments").takes_masks(name.removeprefix("sb3:")))
    return True


def _check_masks(config: Config, problem: Problem, solver_name: str) -> None:
    if problem.action_masks and not takes_masks(config, problem):
        raise ValueError(
            f"solver is {solver_name!r}, but {problem.id} gives action masks, which it cannot honour: take one of"
            f" {', '.join(DISCRETE)}, or sb3:MaskablePPO"
        )


def check_num_envs(config: Config, solver_name: str, num_envs: int) -> None:
    """Check that settings fit a number of sub-environments.

    Args:
        config: settings.
        solver_name: as `choose_solver` returns it.
        num_envs: number of sub-environments.

    Raises:
        ValueError: they do not; one sentence says why.
    """
    active = num_active(config, solver_name, num_envs)
    if config.networks == "shared-layers" and active != config.population:
        raise ValueError(
            f"networks is 'shared-layers', but only {active} of {config.population} policies train side by side: layers"
            " that all have in common need all, so give num_envs as a multiple of population"
        )
    if config.transfer == "first-sweep" and active == config.population:
        raise ValueError(
            "transfer is 'first-sweep', but all policies train side by side, so none is left to continue from another:"
            " set selected below population, or transfer 'always' or 'best'"
        )
    _check_memory(config, solver_name, num_envs // active)
    interrupted = active < config.population or config.transfer != "none"
    if solver_name in ON_POLICY and interrupted and config.exchange_every < config.rollout_steps * num_envs:
        raise ValueError(
            f"exchange_every is {config.exchange_every}, but a policy that trains with solver {solver_name!r} needs"
            f" {config.rollout_steps * num_envs} steps to fill a rollout (rollout_steps x num_envs):"
            " raise exchange_every, or lower num_envs or rollout_steps"
        )


def num_active(config: Config, solver_name: str, num_envs: int) -> int:
    """Return the number of policies that train side by side, each in equally many sub-environments.

    Args:
        config: settings.
        solver_name: as `choose_solver` returns it.
        num_envs: number of sub-environments.

    Raises:
        ValueError: `selected` does not fit the solver, the population or the number of sub-environments.
    """
    if solver_name.startswith("sb3:"):
        if config.selected not in (None, 1):
            raise ValueError(f"selected is {config.selected}, but {solver_name!r} trains one policy at a time: take 1")
        return 1
    if config.selected is None:
        most = min(config.population, num_envs)
        return max(count for count in range(1, most + 1) if num_envs % count == 0)
    if config.selected > config.population:
        raise ValueError(f"selected is {config.selected}, but must be at most population, which is {config.population}")
    if num_envs % config.selected:
        raise ValueError(
            f"selected is {config.selected}, but num_envs is {num_envs}: every policy needs as many environments as the"
            " others, so num_envs must be a multiple of selected"
        )
    return config.selected


def _check_reference(config: Config, problem: Problem) -> None:
    ideal = config.ideal
    lowest = problem.reference_point
    if config.reference == "static":
        if ideal is None:
            raise ValueError("reference is 'static', but ideal is not given: give it, or reference 'running'")
        if len(ideal) != problem.num_objectives:
            raise ValueError(f"ideal is {ideal}, but must have {problem.num_objectives} numbers")
    if config.reference == "running" and ideal is not None:
        raise ValueError(f"ideal is {ideal}, but reference is 'running': set reference 'static'")
    if config.reference == "static" and config.ideal_margin > 0.0:
        raise ValueError(f"ideal_margin is {config.ideal_margin}, but reference is 'static': add the margin to ideal")
    if ideal is None or lowest is None or config.scale == "none":
        return
    if not all(high > low for high, low in zip(ideal, lowest, strict=True)):
        raise ValueError(
            f"ideal is {ideal}, but on scale 'range' every number of it must exceed the reference point {lowest}"
        )


def _check_utility(config: Config, solver_name: str) -> None:
    augmentable = OFF_POLICY - {"td3"} | {"eupg"}
    if config.criterion == "esr" and not (config.augmented_state and solver_name == "eupg"):
        raise ValueError(
            "criterion is 'esr', which needs solver 'eupg' and augmented_state: only EUPG's gradient is that of the"
            " expected utility, and only a policy that observes the accrued reward can weigh it (solver is"
            f" {solver_name!r}, augmented_state {config.augmented_state})"
        )
    if config.weighting != "preference" and config.utility != "linear" and solver_name == "ppo":
        raise ValueError(
            f"weighting is {config.weighting!r}, but utility is {config.utility!r}, which weighs the objectives itself:"
            " take 'linear'"
        )
    if solver_name == "eupg" and config.criterion != "esr":
        raise ValueError("solver is 'eupg', but criterion is 'ser': EUPG maximizes the expected utility, set 'esr'")
    if config.augmented_state and solver_name not in augmentable:
        raise ValueError(
            f"augmented_state is True, but solver is {solver_name!r}: take one of {', '.join(sorted(augmentable))}"
        )
    if solver_name == "td3" and config.utility != "linear":
        raise ValueError(f"utility is {config.utility!r}, but solver 'td3' maximizes linear utilities only: take 'sac'")
    if solver_name.startswith("sb3:") and config.utility != "linear":
        raise ValueError(
            f"utility is {config.utility!r}, but solver {solver_name!r} maximizes a weighted sum of rewards: take"
            " 'linear'"
        )


def _check_combiner(config: Config, problem: Problem, solver_name: str) -> None:
    check_combiner(config.combiner, problem.num_objectives)
    nonlinear = config.utility != "linear" or config.augmented_state
    if config.combiner != "weighted-sum" and nonlinear and solver_name in OFF_POLICY:
        raise ValueError(
            f"combiner is {config.combiner!r}, but solver {solver_name!r} combines gradients under linear utilities of"
            f" returns only: take utility 'linear' without augmented_state, or solver 'ppo' (utility is"
            f" {config.utility!r}, augmented_state {config.augmented_state})"
        )


def _check_novelty(config: Config) -> None:
    if config.novelty == "ctnb" and config.combiner != "weighted-sum":
        raise ValueError(
            f"combiner is {config.combiner!r}, but novelty is 'ctnb', whose gradient of the task is the weighted sum:"
            " take 'weighted-sum'"
        )


def _check_cooperation(config: Config) -> None:
    if config.neighbourhood == "nearest" and config.neighbours >= config.population:
        raise ValueError(
            f"neighbours is {config.neighbours}, but must be below population, which is {config.population}"
        )
    for trait, value in (("transfer", config.transfer), ("replay", config.replay)):
        if config.neighbourhood == "none" and value in ("first-sweep", "always", "soft", "best", "neighbours"):
            raise ValueError(f"{trait} is {value!r}, but neighbourhood is 'none': take 'nearest' or 'all'")


def _check_networks(config: Config, solver_name: str) -> None:
    if solver_name not in OFF_POLICY:
        if config.replay != "own":
            raise ValueError(
                f"replay is {config.replay!r}, but solver {solver_name!r} has no replay that policies could share"
            )
        if config.networks != "separate":
            raise ValueError(f"networks is {config.networks!r}, but solver {solver_name!r} has separate networks only")
    if solver_name == "td3" and config.networks == "shared-layers":
        raise ValueError(
            f"networks is 'shared-layers', but solver is 'td3': take one of {', '.join(sorted(SOFT | {'dqn'}))}"
        )
    if solver_name.startswith("sb3:") and config.transfer == "soft":
        raise ValueError("transfer is 'soft', but policies of Stable-Baselines3 are only copied whole: take another")
    if config.conditioned and config.transfer != "none":
        raise ValueError(
            f"transfer is {config.transfer!r}, but networks is {config.networks!r}: one network has nothing to transfer"
        )
    if config.networks == "shared-layers":
        if config.transfer != "none":
            raise ValueError(
                f"transfer is {config.transfer!r}, but networks is 'shared-layers': only 'none' keeps these layers"
                " alike"
            )
        if config.shared_layers > len(config.hidden_sizes):
            raise ValueError(
                f"shared_layers is {config.shared_layers}, but there are only {len(config.hidden_sizes)} hidden layers"
            )


ENOUGH_STEPS = 2_000
"""Between two exchanges, where a run has more than ten of them."""
MOST_ENVS_OF_SHORT_RUNS = 16
"""With so many environments a rollout still fits between two exchanges, however short the run is."""


def longest_schedules(config: Config, problem: Problem, total_steps: int) -> Mapping[str, int]:
    """Return the most steps of each schedule in use that leave most of a run for learning, and room for exchanges.

    A run has at least ten exchanges, and twenty once 2,000 steps lie between them: each offers new policies to the
    archive. On the lab's concave arcs ten exchanges in 200,000 steps left gaps that twenty filled.

    Args:
        config: settings.
        problem: the environment.
        total_steps: environment steps of the run.
    """
    together = config.replay == "shared" or config.conditioned
    own_steps = total_steps if together else total_steps // config.population
    solver = choose_solver(config, problem)
    on_policy = solver.name in ON_POLICY  # a rollout has to be full between two exchanges
    exchange_every = min(total_steps // 10, max(total_steps // 20, ENOUGH_STEPS))
    longest = {
        "exchange_every": max(exchange_every, MOST_ENVS_OF_SHORT_RUNS * config.rollout_steps * on_policy),
        "exploration_steps": own_steps // 2,
        "random_exploration_steps": own_steps // 10,
        "learning_starts": own_steps // 10,
    }
    return {name: steps for name, steps in longest.items() if not ineffective(config, solver, name)}
