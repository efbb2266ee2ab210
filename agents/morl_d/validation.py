"""Which traits go together: every impossible combination is refused at start, with the reason."""

from gymnasium import spaces

from morl.agents.morl_d.config import Config
from morl.protocols import Problem

CONTINUOUS, DISCRETE = ("sac", "td3", "ppo"), ("dqn", "discrete-sac", "ppo", "eupg")
ON_POLICY = ("ppo", "eupg")
VALUE_BASED = ("dqn", "discrete-sac", "sac")


def check(config: Config, problem: Problem, num_envs: int) -> tuple[int, str]:
    """Return how many policies train side by side, and the name of the solver.

    Args:
        config: resolved settings.
        problem: the environment.
        num_envs: number of lanes.

    Raises:
        ValueError: settings exclude each other, or do not fit the environment or the number of lanes.
    """
    name = _solver(config, problem)
    _check_reference(config, problem)
    _check_utility(config, name)
    _check_cooperation(config, name)
    return check_lanes(config, num_envs, name), name


def check_lanes(config: Config, num_envs: int, name: str) -> int:
    """Return how many policies train side by side in that many lanes.

    Raises:
        ValueError: settings do not fit the number of lanes.
    """
    slots = _slots(config, num_envs, name)
    if config.networks == "shared-layers" and slots != config.population:
        raise ValueError(
            f"networks is 'shared-layers', but only {slots} of {config.population} policies train side by side: layers"
            " that all have in common need all, so give num_envs as a multiple of population"
        )
    if config.transfer == "first-sweep" and slots == config.population:
        raise ValueError(
            "transfer is 'first-sweep', but all policies train side by side, so none is left to continue from another:"
            " set selected below population, or transfer 'always' or 'best'"
        )
    interrupted = slots < config.population or config.transfer != "none"
    if name in ON_POLICY and interrupted and config.exchange_every < config.rollout_steps * num_envs:
        raise ValueError(
            f"exchange_every is {config.exchange_every}, but whoever trains with solver {name!r} needs"
            f" {config.rollout_steps * num_envs} steps to fill a rollout (rollout_steps x num_envs)"
        )
    return slots


def _solver(config: Config, problem: Problem) -> str:
    discrete = isinstance(problem.action_space, spaces.Discrete)
    bounded = isinstance(problem.action_space, spaces.Box) and problem.action_space.is_bounded()
    if not discrete and not bounded:
        raise ValueError(
            f"{problem.id} has actions {problem.action_space}, but MORL/D needs a Discrete choice or a bounded Box"
        )
    name = config.solver or "auto"
    if name == "auto":
        return "dqn" if discrete else "sac"
    if name.startswith("sb3:"):
        if not isinstance(problem.observation_space, spaces.Box):
            raise ValueError(
                f"solver is {name!r}, but {problem.id} has observations {problem.observation_space}, no Box"
            )
        return name
    known = DISCRETE if discrete else CONTINUOUS
    if name not in (*CONTINUOUS, *DISCRETE):
        raise ValueError(
            f"solver is {name!r}, but must be one of auto, {', '.join(sorted({*CONTINUOUS, *DISCRETE}))}, or sb3:NAME"
        )
    if name not in known:
        raise ValueError(
            f"solver is {name!r}, but {problem.id} has actions {problem.action_space}: take one of {', '.join(known)}"
        )
    return name


def _slots(config: Config, num_envs: int, name: str) -> int:
    """Return how many policies train side by side, each in as many lanes as the others."""
    if name.startswith("sb3:"):
        if config.selected not in (None, 1):
            raise ValueError(f"selected is {config.selected}, but {name!r} trains one policy at a time: take 1")
        return 1
    if config.selected is None:
        most = min(config.population, num_envs)
        return max(count for count in range(1, most + 1) if num_envs % count == 0)
    if config.selected > config.population:
        raise ValueError(f"selected is {config.selected}, but must be at most population, which is {config.population}")
    if num_envs % config.selected:
        raise ValueError(
            f"selected is {config.selected}, but num_envs is {num_envs}: every policy needs as many lanes as the"
            " others, so num_envs must be a multiple of selected"
        )
    return config.selected


def _check_reference(config: Config, problem: Problem) -> None:
    ideal, lowest = config.ideal, problem.reference_point
    if config.reference == "static" and config.utility != "linear":
        if ideal is None:
            raise ValueError("reference is 'static', but ideal is not given: give it, or reference 'running'")
        if len(ideal) != problem.num_objectives:
            raise ValueError(f"ideal is {ideal}, but must have {problem.num_objectives} numbers")
    if config.reference == "running" and ideal is not None:
        raise ValueError(f"ideal is {ideal}, but reference is 'running': set reference 'static'")
    if config.reference == "static" and config.ideal_margin > 0.0:
        raise ValueError(f"ideal_margin is {config.ideal_margin}, but reference is 'static': say it in ideal")
    if ideal is None or lowest is None or config.scale == "none":
        return
    if not all(high > low for high, low in zip(ideal, lowest, strict=True)):
        raise ValueError(
            f"ideal is {ideal}, but on scale 'range' every number of it must exceed the reference point {lowest}"
        )


def _check_utility(config: Config, name: str) -> None:
    if config.criterion == "esr" and (config.condition != "accrued" or name != "eupg"):
        raise ValueError(
            "criterion is 'esr', which needs solver 'eupg' and condition 'accrued': only EUPG's gradient is that of the"
            f" expected utility, and only a policy that sees what was paid can weigh it (solver is {name!r}, condition"
            f" {config.condition!r})"
        )
    if name == "eupg" and config.criterion != "esr":
        raise ValueError("solver is 'eupg', but criterion is 'ser': EUPG maximizes the expected utility, set 'esr'")
    if config.condition == "accrued" and name not in (*VALUE_BASED, "eupg"):
        raise ValueError(
            f"condition is 'accrued', but solver is {name!r}: take one of {', '.join((*VALUE_BASED, 'eupg'))}"
        )
    if name == "td3" and config.utility != "linear":
        raise ValueError(f"utility is {config.utility!r}, but solver 'td3' climbs linear utilities only: take 'sac'")
    if name.startswith("sb3:") and config.utility != "linear":
        raise ValueError(
            f"utility is {config.utility!r}, but solver {name!r} is paid a weighted sum of rewards: take 'linear'"
        )


def _check_cooperation(config: Config, name: str) -> None:
    if config.neighbourhood == "nearest" and config.neighbours >= config.population:
        raise ValueError(
            f"neighbours is {config.neighbours}, but must be below population, which is {config.population}"
        )
    for trait, value in (("transfer", config.transfer), ("replay", config.replay)):
        if config.neighbourhood == "none" and value in ("first-sweep", "always", "soft", "best", "neighbours"):
            raise ValueError(f"{trait} is {value!r}, but neighbourhood is 'none': take 'nearest' or 'all'")
    _check_networks(config, name)


def _check_networks(config: Config, name: str) -> None:
    replays = name in (*VALUE_BASED, "td3")
    if not replays and config.replay != "own":
        raise ValueError(f"replay is {config.replay!r}, but solver {name!r} has no replay that policies could share")
    if not replays and config.networks != "separate":
        raise ValueError(f"networks is {config.networks!r}, but solver {name!r} has separate networks only")
    if name == "td3" and config.networks == "shared-layers":
        raise ValueError("networks is 'shared-layers', but solver is 'td3': take sac, discrete-sac or dqn")
    if name.startswith("sb3:") and config.transfer == "soft":
        raise ValueError("transfer is 'soft', but policies of Stable-Baselines3 are only copied whole: take another")
    if config.networks == "conditioned" and config.transfer != "none":
        raise ValueError(
            f"transfer is {config.transfer!r}, but networks is 'conditioned': one network has nothing to transfer"
        )
    if config.networks == "shared-layers" and config.transfer != "none":
        raise ValueError(
            f"transfer is {config.transfer!r}, but networks is 'shared-layers': only 'none' keeps these layers alike"
        )
    if config.networks == "shared-layers" and config.shared_layers > len(config.hidden_sizes):
        raise ValueError(
            f"shared_layers is {config.shared_layers}, but there are only {len(config.hidden_sizes)} hidden layers"
        )
