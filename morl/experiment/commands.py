"""The commands of `morl` as dataclasses: tyro parses them, help and shell completion are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal

import tyro

from morl.experiment.options import OptionHelp, options_of
from morl.experiment.settings import AgentConfig, Settings


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
    """TOML file of settings; they replace tuned settings, and flags replace them."""
    overwrite: bool = False
    """Replace the run that the folder holds."""
    log: tuple[str, ...] = ("tensorboard",)
    """Loggers, one or several: tensorboard, csv, wandb, mlflow, or your own module:Class. metrics.jsonl and
    fronts.jsonl are always written."""
    settings: Annotated[Settings[AgentConfig], tyro.conf.arg(name="")]


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Resume a run from its newest checkpoint."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run folder."""
    total_steps: int | None = None
    """Train until this many steps in all."""
    device: Literal["cpu", "cuda"] | None = None
    """Device of the networks from now on; default: the one used before. On another device random numbers differ."""
    log: tuple[str, ...] | None = None
    """Loggers, as for morl train; default: those used before. W&B and MLflow continue their run."""
    trust: bool = False
    """Import the modules that the run folder names for agent, environment and loggers, which run as your own code, and
    log to the servers that it names."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate the policies of a run on new episodes."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run folder."""
    episodes: int = 10
    """Episodes of each policy."""
    preference: tuple[float, ...] | None = None
    """Evaluate the policy with the highest utility for this preference; default: the whole front."""
    utility: str = "linear"
    """Utility that chooses the policy for a preference: linear, tchebycheff, augmented-tchebycheff,
    smooth-tchebycheff, pbi, or your own module:function of (returns, preferences, ideal)."""
    row: int | None = None
    """Evaluate the policy of this row of the front (the numbers that `morl front` shows)."""
    seed: int = 0
    """Seed of the evaluation."""
    trust: bool = False
    """Import the module that the run folder names for the environment: it runs as your own code."""


@dataclass(frozen=True, kw_only=True)
class Choose:
    """Choose a policy by comparing two outcomes at a time; the session is saved and continued by the next call."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run folder."""
    limit: float | None = None
    """Stop when the expected regret is below this share of the utility's range; default: 0.01."""
    session: Path | None = None
    """The session file; default: RUN/choose.json."""
    seed: int | None = None
    """Seed of a new session; default: 0."""
    restart: bool = False
    """Discard the saved session and start a new one."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Watch a policy of a run in a window, or record videos of policies."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run folder."""
    preference: tuple[float, ...] | None = None
    """Show the policy with the highest utility for this preference; default in the window: equal weights."""
    row: int | None = None
    """Show the policy of this row of the front (the numbers that `morl front` shows)."""
    conditioned: bool = False
    """Condition the network on exactly the preference, instead of taking the best measured policy."""
    video: Path | None = None
    """Record into this file, .mp4 or .gif, instead of opening a window; needs a preference or a row."""
    record: bool = False
    """Record into RUN/videos/, where the board finds it, instead of opening a window; needs a preference or a row."""
    all: int | None = None
    """Record this many policies, spread evenly over the front, into RUN/videos/, with a contact sheet."""
    episodes: int = 1
    """Episodes of each policy, one after the other in its video."""
    seed: int = 0
    """Seed of the first episode: the returns are those of `morl evaluate --episodes 1` with this seed."""
    steps_per_second: float | None = None
    """Environment steps in a second of the video; default: as stated by the environment."""
    trust: bool = False
    """Import the module that the run folder names for the environment: it runs as your own code."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a policy of a run as a file for deployment: docs/guide/deploy.md."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run folder."""
    preference: tuple[float, ...] | None = None
    """Export the policy with the highest utility for this preference."""
    row: int | None = None
    """Export the policy of this row of the front (the numbers that `morl front` shows)."""
    utility: str = "linear"
    """Utility that chooses the policy for a preference, as in `morl evaluate`."""
    conditioned: bool = False
    """Export the agent's network with the preference as an input of the graph."""
    fixed_preference: bool = False
    """With --conditioned: store --preference in the graph instead of making it an input."""
    distribution: bool = False
    """Also output the parameters of a stochastic policy's distribution."""
    format: Literal["onnx", "torchscript", "pt"] = "onnx"
    """onnx for onnxruntime, torchscript for PyTorch, pt for morl.load_policy."""
    output: Path | None = None
    """The file to write; default: policy.onnx, policy.torchscript or policy.pt."""
    trust: bool = False
    """Import the module that the run folder names for its utility: it runs as your own code."""


@dataclass(frozen=True, kw_only=True)
class ShowFront:
    """Print the front of a run, or compare runs: all fronts, then one row for each run, and means over seeds."""

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN")]]
    """Run folders."""
    summary: bool = False
    """Print only the summary of several runs, without their points."""
    plot: Path | None = None
    """Write a figure: .png, .pdf or .svg."""
    html: Path | None = None
    """Write the Pareto page with these runs: one .html file that opens offline."""
    videos: bool = False
    """With --html: include the recorded videos of the runs; the size is printed."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Train the unfinished runs of a study, or show the progress of its runs, or their statistics."""

    words: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[status|table] FILE")]]
    """The study.toml; with status or table before it, nothing is trained."""
    workers: int | None = None
    """Number of runs trained at once; default: the cores of this machine // the cores of a run."""
    dry_run: bool = False
    """Print the runs and an estimate of their time from a short probe of each variant and environment; train none."""
    ray: str | None = None
    """Train on a Ray cluster: its address, or auto for the one that this machine belongs to, else a new one."""
    slurm: Path | None = None
    """Write a script for Slurm's sbatch, an array with an element for each run, and train nothing."""
    folder: Path = Path("studies")
    """Folder of all studies: run folders are FOLDER/NAME/VARIANT/ENV/seed-SEED."""
    latex: bool = False
    """With table: print the tables as LaTeX."""
    csv: bool = False
    """With table: print the numbers, separated by commas."""
    markdown: bool = False
    """With table: print the tables as Markdown."""
    plot: Path | None = None
    """With table: write a figure of the learning curves and performance profiles."""
    fronts: Path | None = None
    """With table: write a figure of the attainment surfaces, for environments with two objectives."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Find settings with Optuna: a study.toml with ranges."""

    file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """The tune.toml."""
    workers: int | None = None
    """Trials at once; default: the cores of this machine, or of the cluster, // the cores of a run."""
    ray: str | None = None
    """Train on a Ray cluster: its address, or auto for the one that this machine belongs to, else a new one."""
    folder: Path = Path("tunings")
    """Folder of all tunings."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """Start TensorBoard with its Pareto tab, and print the address."""

    logdir: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]] = Path("runs")
    """The folder whose runs are shown; default: runs."""
    port: int | None = None
    """Default: 6006, or the next free port."""
    host: str = "localhost"
    """Address to listen on; localhost accepts connections from this machine only."""


@dataclass(frozen=True, kw_only=True)
class List:
    """List agents, environments or tuned settings."""

    what: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="agents|envs|configs")]]
    """What to list."""
    containing: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TEXT")]] = ""
    """With envs: only environments whose id contains this text; a single match is shown in full."""


SCHEMAS: dict[str, type[Any]] = {
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "choose": Choose,
    "watch": Watch,
    "export": Export,
    "front": ShowFront,
    "study": Study,
    "tune": Tune,
    "board": Board,
    "list": List,
}
"""Command -> what it takes."""

POSITIONALS: dict[str, dict[str, str]] = {
    "train": {"agent_name": "AGENT", "env": "ENV"},
    "resume": {"run": "RUN"},
    "evaluate": {"run": "RUN"},
    "choose": {"run": "RUN"},
    "watch": {"run": "RUN"},
    "export": {"run": "RUN"},
    "front": {"runs": "RUN..."},
    "study": {"words": "[status|table] FILE"},
    "tune": {"file": "FILE"},
    "board": {"logdir": "[DIR]"},
    "list": {"what": "agents|envs|configs", "containing": "[TEXT]"},
}
"""Command -> field -> how the help spells the words that are given without a flag."""

USAGE = {"watch": "RUN [--preference W... | --row N | --all N] [--video FILE | --record] [options]"}
"""Command -> its line of usage, where options depend on each other; else the positional words."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (
        "morl train pd-morl deep-sea-treasure-v0 --seed 1",
        "morl train c-morl cmorl-hopper-2d-v0 --total-steps 2e6 --agent.preset paper",
        "morl train morl-d fruit-tree-v0 --env-options depth 7 --seeds 3",
        "morl train pd-morl minecart-v0 --log tensorboard wandb",
    ),
    "resume": ("morl resume runs/pd-morl/minecart-v0/seed-0 --total-steps 400000",),
    "evaluate": (
        "morl evaluate runs/pd-morl/minecart-v0/seed-0 --preference 0.4 0.4 0.2",
        "morl evaluate runs/pd-morl/minecart-v0/seed-0 --row 3 --episodes 20",
    ),
    "choose": ("morl choose runs/pd-morl/minecart-v0/seed-0",),
    "watch": (
        "morl watch runs/pd-morl/minecart-v0/seed-0 --preference 0.4 0.4 0.2",
        "morl watch runs/pd-morl/minecart-v0/seed-0 --row 3 --video cart.mp4",
        "morl watch runs/pd-morl/minecart-v0/seed-0 --all 9",
    ),
    "export": (
        "morl export runs/pd-morl/minecart-v0/seed-0 --row 3 --output policy.onnx",
        "morl export runs/pd-morl/minecart-v0/seed-0 --conditioned",
    ),
    "front": ("morl front runs/pd-morl/minecart-v0/seed-* --summary", "morl front RUN RUN --plot fronts.png"),
    "study": (
        "morl study study.toml --dry-run",
        "morl study study.toml",
        "morl study status study.toml",
        "morl study table study.toml --plot curves.png",
    ),
    "tune": ("morl tune tune.toml",),
    "board": ("morl board runs",),
    "list": ("morl list envs hopper",),
}
"""Command -> lines that work."""


def options_of_command(command: str) -> list[OptionHelp]:
    """Return the options of a command, without its positional words; of `train` without the settings of the agent."""
    own = options_of(SCHEMAS[command])
    if command == "train":
        own = [one for one in own if one.name != "settings"]
        own += [one for one in options_of(Settings) if one.name != "agent"]
    return [one for one in own if one.name not in POSITIONALS[command]]


def flags_with_several_values(command: str, config_class: type[Any] | None = None) -> set[str]:
    """Return the options of a command that take several values, those of an agent's settings included.

    Args:
        command: the command.
        config_class: settings of the agent, if any.
    """
    options = options_of_command(command) + ([] if config_class is None else options_of(config_class, "agent."))
    return {one.flag for one in options if one.metavar.endswith("...")}


def refuse_options_of_training(command: str, args: Sequence[str]) -> None:
    """Check that a command is given no option that only `train` has.

    Args:
        command: the command.
        args: its words.

    Raises:
        ValueError: it is; the sentence says why a resumed run takes none.
    """
    own = {one.flag for one in options_of_command(command)}
    training = {one.flag for one in options_of_command("train")} - own
    for word in args:
        flag = word.partition("=")[0].replace("_", "-")
        if flag not in training and not flag.startswith("--agent."):
            continue
        if command == "resume":
            keeps = f"a resumed run keeps its settings: morl resume takes {', '.join(sorted(own))}"
            raise ValueError(f"{flag} is an option of morl train, but {keeps}")
        raise ValueError(f"{flag} is an option of morl train, not of morl {command}")
