"""GMORL beside simple dispatchers on mec-offloading-v0: hypervolume on six edge servers, and on numbers never seen.

    python benchmarks/mec.py                            all agents, five seeds: train what is missing, then the tables
    python benchmarks/mec.py --agents six --seeds 0 1   some of it
    python benchmarks/mec.py --table                    what is trained so far
    python benchmarks/mec.py --agents varied edges-2 edges-6 edges-10 --write docs/results/mec-contexts.md
                                                        what one agent for all contexts loses to agents for one context

Dispatchers: uniform, all cloud, random edge, least backlog; LinUCB, trained for each preference on episodes of its own;
and the myopic dispatcher, which knows exactly what each server would earn now and takes the best for the preference.
Agents: "six" is trained on six edge servers, "varied" on 1 to 8 with other clocks in every episode, "edges-E" on E with
other clocks in every episode: the agent specific to that context. The loss of "varied" in a context is the share of
that agent's hypervolume that it lacks, seed by seed (the paper's is 1.7 % over its contexts).

Every number is a mean over the same episodes, which nobody has trained on. The hypervolume of a context is taken from
(delay of random edge, 1.1 times the energy of the myopic dispatcher under the preference 1 for delay), both measured
there. Preferences are even and weigh objectives in units of the root mean square reward of random actions.

Run folders are kept in --folder, and the points of each beside its front: the script can be stopped and started again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeAlias

import numpy as np
import tyro
from _page import origin_of_runs
from _runs import is_finished
from numpy.typing import NDArray

import morl
from morl.envs.backends.vector import make_vec
from morl.envs.families import mec_offloading as mec
from morl.envs.families.baselines import BASELINES, myopic
from morl.experiment.run import Run
from morl.pareto import hypervolume, non_dominated
from morl.preferences import simplex_lattice

Points: TypeAlias = NDArray[np.float64]
Envs: TypeAlias = mec.MecOffloadingKernel
Choose: TypeAlias = Callable[[Envs], NDArray[np.int64]]
"""Environments -> a server for each of them."""

ENV = "mec-offloading-v0"
FRESH_SEED = 12_345
"""Of the episodes on which everything is measured; nothing is trained on them."""
TRAINING_SEED = 777
"""Of the episodes on which LinUCB learns and units are measured."""
CLOCKS: dict[str, Any] = {"cloud_clock": "3.5-4.5", "edge_clock": "1.75-2.25"}  # GHz, of the paper's training
ROOM = 10
"""Edge servers that observations have room for where their number varies."""
SEEN = 8
"""Most edge servers that the varied agent is trained on."""
FIXED = ("uniform", "all cloud", "random edge", "least backlog")


@dataclass(frozen=True)
class Arguments:
    """What to train and to measure."""

    agents: list[str] = field(default_factory=lambda: ["six", "varied", "edges-2", "edges-10"])
    """six, varied, or edges-E for a number E of edge servers."""
    seeds: list[int] = field(default_factory=lambda: list(range(5)))
    total_steps: int | None = None
    """Environment steps of each run; None: those of the tuned settings."""
    folder: Path = Path("runs/mec")
    """Where run folders are kept."""
    episodes: int = 300
    """Episodes on which each policy is measured."""
    divisions: int = 50
    """Of the lattice of preferences."""
    contexts: list[int] = field(default_factory=lambda: list(range(1, ROOM + 1)))
    """Numbers of edge servers on which the varied agent is measured."""
    table: bool = False
    """Train nothing; show what is finished."""
    write: Path | None = None
    """Also write the tables there, and the loss in every context and seed beside them as JSON."""
    quick: bool = False
    """One short run of two agents, a few episodes: does it run?"""


# --- Measuring --------------------------------------------------------------------------------------------------------


def roll_out(choose: Choose, options: dict[str, Any], episodes: int) -> Points:
    """Return the mean undiscounted return [objective] of a dispatcher over the episodes that all are measured on.

    Args:
        choose: the dispatcher.
        options: of the environment.
        episodes: number of episodes, of one seed each.
    """
    envs = kernel(options, episodes, FRESH_SEED)
    returns = np.zeros((episodes, 2))
    for _ in range(mec.HORIZON):
        returns += envs.step(choose(envs))[1]
    found: Points = returns.mean(axis=0)
    return found


def kernel(options: dict[str, Any], count: int, seed: int) -> Envs:
    """Return environments whose first episodes have begun; environment i is seeded with seed + i."""
    envs = make_vec(ENV, count, seed=seed, **options)
    assert isinstance(envs, mec.MecOffloadingKernel)
    envs.reset(seed=seed)
    return envs


def reward_units(options: dict[str, Any]) -> Points:
    """Return the root mean square reward [objective] of random allowed actions over 64 episodes."""
    envs = kernel(options, 64, TRAINING_SEED)
    generator = np.random.default_rng(0)
    uniform = BASELINES[ENV]["uniform"]
    squares = np.zeros(2)
    for _ in range(mec.HORIZON):
        squares += np.square(envs.step(uniform(envs, generator))[1]).mean(axis=0)
    units: Points = np.sqrt(squares / mec.HORIZON)
    return units


# --- Dispatchers ------------------------------------------------------------------------------------------------------


def dispatcher(policy: Callable[..., Any], seed: int = 0) -> Choose:
    """Return a policy of `BASELINES` with a random stream of its own."""
    generator = np.random.default_rng(seed)
    return lambda envs: np.asarray(policy(envs, generator))


def myopic_weight(preference: Points, units: Points) -> float:
    """Return the w of `myopic`, which maximizes 0.01 w delay + 50 (1 - w) energy, for a preference in units."""
    delay, energy = preference / units / np.array([0.01, 50.0])
    return float(delay / (delay + energy))


class LinUCB:
    """A linear contextual bandit with upper confidence bounds (Li et al. 2010), one model for cloud and edge servers.

    It earns the utility of one reward, and so is myopic too; unlike the myopic dispatcher it has to learn what a
    placement costs. The context of a server is made of what its row of the observation says.

    Args:
        weights: [objective] of the utility of a reward.
        width: of the confidence bound, in standard errors.
    """

    def __init__(self, weights: Points, width: float = 1.0) -> None:
        self.weights = weights
        self.width = width
        size = 2 * self.features(kernel({}, 1, 0)).shape[2]
        self.gram = np.eye(size)  # of ridge regression
        self.moments = np.zeros(size)

    @staticmethod
    def features(envs: Envs) -> Points:
        """Return the context [env, server, feature] of each server: size, load and clock, and their products."""
        rows = envs.last_observations.astype(np.float64)
        size = rows[:, :, 0] / 10.0
        bins = np.arange(mec.BINS) + 0.5
        backlog = rows[:, :, mec.HISTOGRAM : mec.HISTOGRAM + mec.BINS] @ bins / 10.0
        clock = np.maximum(rows[:, :, 2], 0.1)
        tasks = rows[:, :, 3]
        upload = size / np.maximum(rows[:, :, 1], 0.01)
        parts = [size, size / clock, size * tasks / clock, backlog / clock, tasks, upload, np.ones_like(size)]
        return np.stack(parts, axis=2)

    def contexts(self, envs: Envs) -> Points:
        """Return the inputs [env, server, 2 * feature] of the model: one half is the cloud's, the other the edges'."""
        own = self.features(envs)
        is_cloud = (np.arange(own.shape[1]) == 0)[None, :, None]
        return np.concatenate([own * is_cloud, own * ~is_cloud], axis=2)

    def bounds(self, contexts: Points, width: float) -> Points:
        """Return the estimated utility [env, server] of each placement, plus `width` standard errors."""
        inverse = np.linalg.inv(self.gram)
        variance = np.einsum("esf,fg,esg->es", contexts, inverse, contexts)
        found: Points = contexts @ (inverse @ self.moments) + width * np.sqrt(variance)
        return found

    def learn(self, options: dict[str, Any], num_envs: int = 32, episodes: int = 4) -> "LinUCB":
        """Play episodes, each step by the highest bound, and fit what was earned; return itself."""
        envs = kernel(options, num_envs, TRAINING_SEED)
        for _ in range(episodes * mec.HORIZON):
            contexts = self.contexts(envs)
            actions = self.allowed_best(envs, self.bounds(contexts, self.width))
            chosen = contexts[np.arange(num_envs), actions]
            utilities = envs.step(actions)[1] @ self.weights
            self.gram += chosen.T @ chosen
            self.moments += utilities @ chosen
        return self

    def allowed_best(self, envs: Envs, values: Points) -> NDArray[np.int64]:
        """Return the server [env] with the highest value among those that exist."""
        present = envs.state.links[:, :, mec.CLOCK] > 0.0
        return np.asarray(np.argmax(np.where(present, values, -np.inf), axis=1))

    def __call__(self, envs: Envs) -> NDArray[np.int64]:
        """Return the server [env] with the highest estimate."""
        return self.allowed_best(envs, self.bounds(self.contexts(envs), 0.0))


def random_edge(envs: Envs, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return any of the edge servers that there are, all equally likely."""
    return 1 + (generator.random(envs.num_envs) * envs.state.status[:, mec.EDGES]).astype(np.int64)


def myopic_front(options: dict[str, Any], episodes: int, divisions: int) -> Points:
    """Return the points [n, objective] of the myopic dispatcher, the weight of the delay ascending."""
    units = reward_units(options)
    lattice = simplex_lattice(2, divisions)[1:]  # without a weight for delay, it fills a single server
    chosen = [dispatcher(myopic(myopic_weight(preference, units))) for preference in lattice]
    return np.array([roll_out(choose, options, episodes) for choose in chosen])


def bandit_front(options: dict[str, Any], episodes: int, divisions: int) -> Points:
    """Return the points [n, objective] of LinUCB, trained for one preference after the other."""
    units = reward_units(options)
    bandits = [LinUCB(preference / units).learn(options) for preference in simplex_lattice(2, divisions)[1:]]
    return np.array([roll_out(bandit, options, episodes) for bandit in bandits])


def reference_point(myopic_points: Points, options: dict[str, Any], episodes: int) -> Points:
    """Return the reference point of a context: delay of a random edge server, 1.1 times the myopic energy for delay."""
    delay = roll_out(dispatcher(random_edge), options, episodes)[0]
    return np.array([delay, 1.1 * myopic_points[-1, 1]])


# --- Agents -----------------------------------------------------------------------------------------------------------


def training_options(agent: str) -> dict[str, Any]:
    """Return the options of the environment that an agent is trained on."""
    if agent == "six":
        return {}
    if agent == "varied":
        return {"edges": "1-8", "max_edges": ROOM, **CLOCKS}
    return context_options(int(agent.removeprefix("edges-")))


def context_options(edges: int) -> dict[str, Any]:
    """Return the options of a context with a number of edge servers, for agents that know rooms of `ROOM`."""
    return {"edges": edges, "max_edges": ROOM, **CLOCKS}


def trained(agent: str, seed: int, arguments: Arguments) -> Run | None:
    """Return a finished run, trained or resumed first unless only the table is asked for; None: there is none."""
    run_dir = arguments.folder / agent / f"seed-{seed}"
    if is_finished(run_dir):
        return morl.load(run_dir)
    if arguments.table:
        return None
    if (run_dir / "config.toml").is_file():
        return morl.resume(run_dir)
    steps = {} if arguments.total_steps is None else {"total_steps": arguments.total_steps}
    return morl.train("gmorl", ENV, env_options=training_options(agent), seed=seed, run_dir=run_dir, **steps)


def agent_front(run: Run, name: str, options: dict[str, Any], arguments: Arguments) -> Points:
    """Return the points [n, objective] of a trained network, one for each preference in its own units; kept in a file.

    Args:
        run: of the agent.
        name: of the context, for the file.
        options: of the context.
        arguments: number of episodes and preferences.
    """
    file = run.directory / f"mec-{name}-{arguments.episodes}-{arguments.divisions}.json"
    if not file.is_file():
        policy = run.policy([0.5, 0.5], conditioned=True)
        assert policy.preference_scale is not None
        points = []
        for preference in simplex_lattice(2, arguments.divisions):
            acting = policy.conditioned_on(preference / policy.preference_scale)

            def choose(envs: Envs, acting: Any = acting) -> NDArray[np.int64]:
                masks = envs.state.links[:, :, mec.CLOCK] > 0.0
                return np.asarray(acting.predict(envs.last_observations, action_masks=masks)[0])

            points.append(roll_out(choose, options, arguments.episodes).tolist())
        file.write_text(json.dumps(points))
    return np.array(json.loads(file.read_text()))


# --- Tables -----------------------------------------------------------------------------------------------------------


def spread(values: list[float]) -> str:
    """Return mean and standard deviation of some seeds."""
    return f"{mean(values):.4f}" + (f" +- {stdev(values):.4f} ({len(values)} seeds)" if len(values) > 1 else "")


def table_of_six(arguments: Arguments) -> list[str]:
    """Return the lines of the table of hypervolumes on six edge servers, as shares of the myopic dispatcher's."""
    episodes = arguments.episodes
    fronts = {name: roll_out(dispatcher(BASELINES[ENV][name]), {}, episodes)[None] for name in FIXED}
    six = [policy for name, policy in BASELINES[ENV].items() if name.startswith("myopic")]
    fronts["myopic, the six weights of task_families.md"] = np.array(
        [roll_out(dispatcher(policy), {}, episodes) for policy in six]
    )
    fronts["LinUCB"] = bandit_front({}, episodes, min(10, arguments.divisions))
    fronts["myopic"] = myopic_front({}, episodes, arguments.divisions)
    reference = reference_point(fronts["myopic"], {}, episodes)
    best = hypervolume(fronts["myopic"], reference)
    lines = [
        f"Six edge servers, reference point {reference.round(2).tolist()}; the myopic hypervolume is {best:.1f}.",
        "",
        "| dispatcher | hypervolume / myopic | points | lowest delay, s | lowest energy, J |",
        "|---|---|---|---|---|",
    ]
    for name, points in fronts.items():
        lines.append(row(name, [hypervolume(points, reference) / best], [points]))
    for agent in arguments.agents:
        if agent not in ("six", "varied"):
            continue
        runs = [run for seed in arguments.seeds if (run := trained(agent, seed, arguments)) is not None]
        options = {} if agent == "six" else {"max_edges": ROOM}
        measured = [agent_front(run, "six", options, arguments) for run in runs]
        if measured:
            shares = [hypervolume(points, reference) / best for points in measured]
            lines.append(row(f"GMORL, {agent}", shares, measured))
    return lines


def row(name: str, shares: list[float], fronts: list[Points]) -> str:
    """Return a row of the table: hypervolume, non-dominated points, and the ends of the front."""
    counts = mean(int(non_dominated(points).sum()) for points in fronts)
    ends = [mean(float(-points[:, objective].max()) for points in fronts) for objective in range(2)]
    return f"| {name} | {spread(shares)} | {counts:.0f} | {ends[0]:.0f} | {ends[1]:.2f} |"


@dataclass(frozen=True)
class Context:
    """How two agents do in one context.

    Attributes:
        edges: number of edge servers.
        varied: seed -> hypervolume of the agent that was trained on 1 to 8 servers, as a share of the myopic one.
        own: the same of the agent that was trained there.
    """

    edges: int
    varied: dict[int, float]
    own: dict[int, float]

    @property
    def losses(self) -> dict[int, float]:
        """Return the share of the own agent's hypervolume that the varied one lacks, by seed; negative: it has more."""
        return {seed: 1.0 - self.varied[seed] / own for seed, own in self.own.items() if seed in self.varied}


def measured_context(edges: int, arguments: Arguments) -> Context:
    """Return how the varied agent and the one that is specific to a context do there.

    Args:
        edges: number of edge servers.
        arguments: agents, seeds, episodes and preferences.
    """
    options = context_options(edges)
    myopic_points = myopic_front(options, arguments.episodes, arguments.divisions)
    reference = reference_point(myopic_points, options, arguments.episodes)
    best = hypervolume(myopic_points, reference)
    shares: dict[str, dict[int, float]] = {"varied": {}, f"edges-{edges}": {}}
    for agent, by_seed in shares.items():
        for seed in arguments.seeds if agent in arguments.agents else ():
            run = trained(agent, seed, arguments)
            if run is not None:
                points = agent_front(run, f"edges-{edges}", options, arguments)
                by_seed[seed] = hypervolume(points, reference) / best
    return Context(edges, shares["varied"], shares[f"edges-{edges}"])


def table_of_contexts(contexts: list[Context]) -> list[str]:
    """Return the lines of the table of the varied agent in every context, and what it loses over all of them."""
    lines = [
        "| edge servers | varied / myopic | trained there / myopic | loss against trained there |",
        "|---|---|---|---|",
    ]
    for context in contexts:
        cells = [list(part.values()) for part in (context.varied, context.own)]
        losses = list(context.losses.values())
        words = [spread(values) if values else "-" for values in cells]
        lines.append(f"| {context.edges} | {' | '.join(words)} | {percent(losses)} |")
    for what, chosen in (
        ("1 to 8, which it has seen", [one for one in contexts if one.edges <= SEEN]),
        ("9 and 10, which it has not", [one for one in contexts if one.edges > SEEN]),
        ("all", contexts),
    ):
        losses = [loss for context in chosen for loss in context.losses.values()]
        if losses:
            lines.append(f"| {what} | | | {percent(losses)} |")
    return lines


def percent(losses: list[float]) -> str:
    """Return mean, least and largest of some shares as percentages."""
    if not losses:
        return "-"
    spoken = f"{100 * mean(losses):.1f} %"
    if len(losses) == 1:
        return spoken
    return f"{spoken} ({100 * min(losses):.1f} to {100 * max(losses):.1f}, {len(losses)} pairs)"


def write_page(file: Path, lines: list[str], contexts: list[Context], arguments: Arguments) -> None:
    """Write the tables as a page, and beside it the hypervolumes of every context and seed as JSON.

    Args:
        file: of the page.
        lines: of the tables.
        contexts: that were measured.
        arguments: of the script.
    """
    head = [
        "# GMORL across numbers of servers",
        "",
        f"<!-- `python benchmarks/mec.py --write {file}` writes this page. -->",
        "",
        f"`{ENV}`, clocks of 3.5 to 4.5 GHz (cloud) and 1.75 to 2.25 GHz (edge) drawn for every episode.",
        f"Hypervolumes of {arguments.divisions + 1} preferences on {arguments.episodes} episodes that nobody was",
        "trained on, as shares of the myopic dispatcher's there, which is told exactly what every placement would",
        "cost. The loss compares agents of the same seed. [GMORL](../agents/gmorl.md) describes the agent.",
        "",
    ]
    seeds = [f"seed-{seed}" for seed in arguments.seeds]
    runs = [arguments.folder / agent / seed for agent in arguments.agents for seed in seeds]
    origin = origin_of_runs(folder for folder in runs if (folder / "system.json").is_file())
    file.write_text("\n".join([*head, *lines, "", origin, ""]))
    table = {str(one.edges): {"varied": one.varied, "own": one.own, "losses": one.losses} for one in contexts}
    file.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n")


def main(arguments: Arguments) -> None:
    """Train what is missing, seed by seed, then print the tables."""
    if arguments.quick:
        arguments = Arguments(
            agents=["six", "varied", "edges-2"],
            seeds=[0],
            total_steps=3_000,
            folder=Path("runs/mec-quick"),
            episodes=10,
            divisions=4,
            contexts=[2],
        )
    for seed in arguments.seeds:
        for agent in arguments.agents:
            trained(agent, seed, arguments)
    lines: list[str] = []
    if "six" in arguments.agents:
        lines += [*table_of_six(arguments), ""]
    contexts: list[Context] = []
    if "varied" in arguments.agents:
        contexts = [measured_context(edges, arguments) for edges in arguments.contexts]
        lines += table_of_contexts(contexts)
    print("\n".join(lines), flush=True)
    if arguments.write is not None:
        write_page(arguments.write, lines, contexts, arguments)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
