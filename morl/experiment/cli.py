"""The command line: morl train | resume | evaluate | front | board | list."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic

# OpenMP threads that spin while they wait take the core that the simulator needs; this must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # compiled updates spread policies over threads themselves

import tyro

from morl.board.text import printable
from morl.experiment.messages import sentence_of
from morl.experiment.parsing import option, parse
from morl.experiment.settings import (
    AgentConfig,
    Settings,
    Source,
    combine,
    env_options_of,
    settings_description,
)
from morl.experiment.toml import read_table

USAGE = """\
usage: morl COMMAND ...

  morl train AGENT ENV [options]        train, e.g.  morl train pd-morl deep-sea-treasure-v0 --seed 1
  morl resume RUN [--total-steps N]     resume a run where it stopped, bit for bit
  morl evaluate RUN [--preference 0.7 0.3] [--episodes N]
  morl front RUN... [--plot FILE.png] [--html FILE.html]   print fronts, compare them in a picture or a page
  morl board [runs]                     look at fronts in TensorBoard, choose a policy
  morl list agents|configs
  morl list envs [TEXT]                 all environments, or those whose id contains a text

  morl COMMAND --help shows the options."""


@dataclass(frozen=True, kw_only=True)
class Train(Generic[AgentConfig]):
    """Train an agent on an environment."""

    agent_name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="AGENT")]]
    """Name of an agent (morl list agents), or your own module:Class."""
    env: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ENV")]]
    """Gymnasium id (morl list envs), or your own module:Name-v0."""
    run_dir: Path | None = None
    """The run folder; default: runs/AGENT/ENV/seed-SEED."""
    seeds: int = 1
    """Train this many seeds, counted up from --seed, in one process; each has its own run folder (RUN_DIR/seed-S)."""
    config: Path | None = None
    """TOML file of settings, over the tuned ones and under the flags."""
    overwrite: bool = False
    """Replace the run that the folder holds."""
    settings: Annotated[Settings[AgentConfig], tyro.conf.arg(name="")]


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Resume a run from its newest checkpoint."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    total_steps: int | None = None
    """Train until this many steps in all."""
    trust: bool = False
    """Import the modules that the run folder names for agent and environment: they run as your own code."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate the policies of a run on fresh episodes."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    episodes: int = 10
    """Episodes of each policy."""
    preference: tuple[float, ...] | None = None
    """Evaluate the policy with the highest utility for this preference; default: the whole front."""
    row: int | None = None
    """Evaluate the policy of this row of front.json."""
    seed: int = 0
    """Seed of the evaluation."""
    trust: bool = False
    """Import the module that the run folder names for the environment: it runs as your own code."""


@dataclass(frozen=True, kw_only=True)
class ShowFront:
    """Print the fronts of runs, or compare them in a picture."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders."""
    plot: Path | None = None
    """Write a picture: .png, .pdf or .svg."""
    html: Path | None = None
    """Write the Pareto page with these runs: one .html file that opens offline."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """Start TensorBoard with its Pareto tab, and print the address."""

    logdir: tyro.conf.Positional[Path] = Path("runs")
    """The folder whose runs are shown."""
    port: int | None = None
    """Default: 6006, or the next one that is free."""
    host: str = "localhost"
    """Who may connect; localhost is this machine alone."""


@dataclass(frozen=True, kw_only=True)
class List:
    """List what there is."""

    what: tyro.conf.Positional[str]
    """agents, envs or configs."""
    containing: tyro.conf.Positional[str] = ""
    """Of the environments only those whose id contains this; one alone is shown in full."""


def train(args: Sequence[str]) -> None:
    """Run `morl train`."""
    if not args or args[0] in ("-h", "--help"):
        args = ["pd-morl", "deep-sea-treasure-v0", "--help"]
    if len(args) < 2 or args[0].startswith("-") or args[1].startswith("-"):
        raise ValueError("morl train needs an agent and an environment first: morl train AGENT ENV [options]")
    agent_name, env = args[0], args[1]
    from morl.envs.core.registry import env_name
    from morl.experiment import report
    from morl.experiment.components import find_task
    from morl.experiment.training import start

    file = option(args, "--config")
    sources: list[Source] = [*([] if file is None else [read_table(Path(file))]), args[2:]]
    task = find_task(agent_name, env, env_options_of(agent_name, env_name(env), sources))
    config_class = task.agent_class.config_class
    combined = combine(config_class, agent_name, env_name(env), sources)
    schema: Any = Train[config_class]  # type: ignore[valid-type]
    description = settings_description(agent_name, config_class)
    chosen = parse(schema, [*args[:2], *combined.arguments], "morl train", description)
    if chosen.seeds < 1:
        raise ValueError(f"seeds is {chosen.seeds}, but must be at least 1")
    first = task.experiment(combined.resolved(chosen.settings))
    experiments = [first.with_seed(first.settings.seed + number) for number in range(chosen.seeds)]
    folders = None if chosen.run_dir is None else [chosen.run_dir]
    if folders is not None and chosen.seeds > 1:
        folders = [folders[0] / f"seed-{one.settings.seed}" for one in experiments]
    for run in start(experiments, folders, chosen.overwrite, progress=True):
        report.show_run(run)


def resume(args: Sequence[str]) -> None:
    """Run `morl resume`."""
    chosen = parse(Resume, args, "morl resume")
    from morl.experiment import report, resuming

    report.show_run(resuming.resume(chosen.run, chosen.total_steps, trust=chosen.trust, progress=True))


def evaluate(args: Sequence[str]) -> None:
    """Run `morl evaluate`."""
    chosen = parse(Evaluate, args, "morl evaluate")
    from morl.experiment import report
    from morl.experiment.run import load

    run = load(chosen.run, trust=chosen.trust)
    returns = run.evaluate(chosen.preference, chosen.episodes, chosen.seed, row=chosen.row)
    report.show_returns(run, chosen.row if chosen.preference is None else run.best_row(chosen.preference), returns)


def front(args: Sequence[str]) -> None:
    """Run `morl front`."""
    chosen = parse(ShowFront, args, "morl front")
    from morl.experiment import report
    from morl.experiment.run import load

    if not chosen.runs:
        raise ValueError("morl front needs at least one run folder: morl front RUN... [--plot FILE.png]")
    if chosen.html is not None:
        from morl.board.page import write_page

        write_page(list(chosen.runs), chosen.html)
        print(f"page written to {printable(chosen.html)}")  # noqa: T201
    runs = []
    damaged = []
    for run in chosen.runs:
        try:
            runs.append(load(run))
        except (ValueError, OSError) as error:
            damaged.append(str(error))
    if runs:
        report.show_fronts(runs, chosen.plot)
    if damaged:
        raise ValueError("; ".join(damaged))


def board(args: Sequence[str]) -> None:
    """Run `morl board`."""
    chosen = parse(Board, args, "morl board")
    from morl.board.serve import serve

    serve(chosen.logdir, chosen.port, chosen.host)


def show_list(args: Sequence[str]) -> None:
    """Run `morl list`."""
    chosen = parse(List, args, "morl list")
    from morl.experiment import listing

    lists = {"agents": listing.list_agents, "envs": listing.list_envs, "configs": listing.list_configs}
    if chosen.what not in lists:
        raise ValueError(f"morl list takes {', '.join(lists)}, not {chosen.what!r}")
    if chosen.what == "envs":
        listing.list_envs(chosen.containing)
    elif chosen.containing:
        raise ValueError(f"morl list {chosen.what} takes nothing more, got {chosen.containing!r}")
    else:
        lists[chosen.what]()


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "front": front,
    "board": board,
    "list": show_list,
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a failure is one line on standard error and exit code 2 (MORL_TRACEBACK=1 shows where)."""
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)  # noqa: T201 - this is what was asked for
        return
    if args[0] == "--version":
        import morl

        print(morl.__version__)  # noqa: T201
        return
    sys.path.append(os.getcwd())  # "module:Class" is looked for here too, last, so that nothing of ours is hidden
    try:
        if args[0] not in COMMANDS:
            raise ValueError(f"morl has no command {args[0]!r}; it has {', '.join(COMMANDS)}")
        COMMANDS[args[0]](args[1:])
    except Exception as error:
        if os.environ.get("MORL_TRACEBACK"):
            raise
        print(f"morl: {sentence_of(error)}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        from morl.experiment.interrupt import exit_after_interrupt

        exit_after_interrupt()
