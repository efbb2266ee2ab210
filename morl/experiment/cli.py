"""The commands of `morl` about single runs: train, resume, evaluate, choose, watch, export, front, board, list.

`morl.__main__` adds those of the packages above this one, and is the program.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

# OpenMP threads that spin while they wait take the core that the simulator needs; this must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # compiled updates spread policies over threads themselves

from morl.experiment.commands import (
    Board,
    Choose,
    Evaluate,
    Export,
    List,
    Resume,
    ShowFront,
    Train,
    Watch,
    flags_with_several_values,
    refuse_options_of_training,
)
from morl.experiment.messages import command_line_style, sentence_of
from morl.experiment.parsing import option, parse, refuse_missing_values
from morl.experiment.settings import (
    Combined,
    Source,
    combine,
    described_sources,
    env_options_of,
    file_sources,
    preset_names,
)
from morl.output_files import PICTURE_SUFFIXES, check_output_file, check_output_folder
from morl.version import VERSION

if TYPE_CHECKING:
    from morl.experiment.components import Task

Command: TypeAlias = Callable[[Sequence[str]], None]
"""Takes the words behind its name."""

HELP = ("-h", "--help")

EXPORT_ENDINGS = {"onnx": (".onnx",), "torchscript": (".torchscript", ".pt", ".ts"), "pt": (".pt",)}
"""Format of `morl export` -> how the names of its files end."""

USAGE = """\
usage: morl COMMAND ...

  morl train AGENT ENV [options]
      train, e.g.  morl train pd-morl deep-sea-treasure-v0 --seed 1
  morl resume RUN [--total-steps N]
      resume a run from its newest checkpoint, bit for bit
  morl evaluate RUN [--preference 0.7 0.3] [--episodes N]
      evaluate policies on new episodes
  morl choose RUN
      choose a policy by comparing outcomes, two at a time
  morl watch RUN [--preference 0.7 0.3]
      watch a policy in a window
  morl watch RUN --preference 0.7 0.3 --video FILE.mp4 | --record
      record a video; --all 9: of nine policies
  morl export RUN --preference 0.7 0.3 [--format onnx|torchscript|pt]
      write a policy for deployment; --output FILE
  morl front RUN... [--plot FILE.png] [--html FILE.html]
      print fronts, compare them in a figure or an HTML file
  morl study FILE.toml [--dry-run]
      train many runs (agents x environments x seeds), or continue with them
  morl study status|table FILE.toml
      show the progress of its runs, or their statistics
  morl tune FILE.toml
      find settings with Optuna
  morl board [runs]
      compare fronts and choose a policy in TensorBoard
  morl list agents|configs
      list agents or tuned settings
  morl list envs [TEXT]
      list environments, all or those whose id contains a text

  morl COMMAND --help
      show the options; morl train AGENT ENV --help also their tuned values
  morl --install-completion [bash|zsh|fish]
      tab completion of commands, agents, environments and options
  morl --version"""


def train(args: Sequence[str]) -> None:
    """Run `morl train`."""
    if any(word in HELP for word in args):
        print(_train_help([word for word in args if word not in HELP]))  # noqa: T201
        return
    if len(args) < 2 or args[0].startswith("-") or args[1].startswith("-"):
        raise ValueError(
            "morl train needs an agent and an environment first: morl train AGENT ENV [options]; morl train --help"
            " explains them"
        )
    from morl.experiment import report
    from morl.experiment.training import Watchers, start

    task, combined = _task_and_settings(args)
    chosen = parse(_train_schema(task), [*args[:2], *combined.arguments])
    if chosen.run_dir is not None:
        check_output_folder("--run-dir", chosen.run_dir)
    if chosen.seeds < 1:
        raise ValueError(f"seeds is {chosen.seeds}, but must be at least 1")
    first = task.experiment(combined.resolved(chosen.settings))
    experiments = [first.with_seed(first.settings.seed + number) for number in range(chosen.seeds)]
    folders = None if chosen.run_dir is None else [chosen.run_dir]
    if folders is not None and chosen.seeds > 1:
        folders = [folders[0] / f"seed-{one.settings.seed}" for one in experiments]
    watchers = Watchers.of(progress=True, loggers=chosen.log)
    report.show_trained(start(experiments, folders, chosen.overwrite, watchers))


def _task_and_settings(args: Sequence[str]) -> "tuple[Task, Combined]":
    """Return the task that AGENT and ENV name and the settings of all sources, flags last."""
    from morl.envs.core.registry import env_name
    from morl.experiment.components import find_task

    agent_name, env = args[:2]
    sources: list[Source] = [*file_sources(option(args, "--config")), args[2:]]
    task = find_task(agent_name, env, env_options_of(agent_name, env_name(env), sources))
    refuse_missing_values(args, flags_with_several_values("train", task.agent_class.config_class))
    return task, combine(task.agent_class.config_class, agent_name, env_name(env), sources)


def _train_schema(task: "Task") -> Any:
    config_class = task.agent_class.config_class
    return Train[config_class]  # type: ignore[valid-type]


def _train_help(args: Sequence[str]) -> str:
    """Return the help of `morl train`, of an agent, or of an agent in an environment.

    Raises:
        ValueError: there is no such agent or environment, or the other arguments are wrong.
    """
    from morl.agents import AGENTS, agent_summaries, find_agent
    from morl.envs.core.registry import env_name
    from morl.experiment.help import Defaults, train_help

    named = len(list(takewhile(lambda word: not word.startswith("-"), args)))
    if not named:
        return train_help(agent_summaries())
    agent_name = args[0]
    if named == 1:
        config_class = find_agent(agent_name).config_class
        presets = preset_names(config_class)
        kinds = AGENTS.get(agent_name)
        variants = "" if not isinstance(kinds, dict) else f"for {next(iter(kinds))} actions"
        defaults = Defaults(agent_name, config_class, presets=presets, variants=variants)
        return train_help(agent_summaries(), defaults)
    task, combined = _task_and_settings(args)
    config_class = task.agent_class.config_class
    parsed = parse(_train_schema(task), [*args[:2], *combined.arguments]).settings
    logger = logging.getLogger("morl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # help shows schedules as a run adapts them, and needs no warning
    try:
        settings = combined.resolved(parsed).settings
    finally:
        logger.setLevel(level)
    defaults = Defaults(
        agent_name,
        config_class,
        env=args[1],
        settings=settings,
        stated={"discount": task.problem.discount, "reference_point": task.problem.reference_point},
        source=described_sources(agent_name, env_name(task.env), combined.preset),
        presets=preset_names(config_class),
    )
    return train_help(agent_summaries(), defaults)


def resume(args: Sequence[str]) -> None:
    """Run `morl resume`."""
    chosen = parse(Resume, args, "morl resume")
    from morl.experiment import report, resuming

    run = resuming.resume(
        chosen.run,
        chosen.total_steps,
        device=chosen.device,
        trust=chosen.trust,
        progress=True,
        loggers=chosen.log,
    )
    report.show_trained([run])


def evaluate(args: Sequence[str]) -> None:
    """Run `morl evaluate`."""
    chosen = parse(Evaluate, args, "morl evaluate")
    from morl.experiment import report
    from morl.experiment.run import load

    run = load(chosen.run, trust=chosen.trust)
    if chosen.preference is None:
        returns = run.evaluate(None, chosen.episodes, chosen.seed, row=chosen.row)
        report.show_returns(run, chosen.row, returns)
        return
    if chosen.row is not None:
        raise ValueError("--preference and --row are both given, but one of them chooses the policy")
    row = run.best_row(chosen.preference, chosen.utility)
    report.show_returns(run, row, run.evaluate(None, chosen.episodes, chosen.seed, row=row))


def choose(args: Sequence[str]) -> None:
    """Run `morl choose`."""
    chosen = parse(Choose, args, "morl choose")
    if chosen.session is not None:
        check_output_file("--session", chosen.session)
    from morl.experiment import choosing
    from morl.experiment.run import load

    chooser = choosing.Chooser(
        load(chosen.run), file=chosen.session, limit=chosen.limit, seed=chosen.seed, restart=chosen.restart
    )
    try:
        choosing.choose(chooser)
    finally:
        choosing.show_choice(chooser)


def watch(args: Sequence[str]) -> None:
    """Run `morl watch`."""
    chosen = parse(Watch, args, "morl watch")
    if chosen.video is not None:
        check_output_file("--video", chosen.video)
    from morl.experiment import report
    from morl.experiment.run import load

    run = load(chosen.run, trust=chosen.trust)
    if chosen.video is None and not chosen.record and chosen.all is None:
        run.watch(chosen.preference, row=chosen.row, conditioned=chosen.conditioned, seed=chosen.seed)
        return
    from morl.experiment import videos

    if chosen.video is not None and chosen.record:
        raise ValueError("--video and --record are both given, but the video goes to one place")

    options = videos.RecordOptions(
        chosen.episodes,
        chosen.seed,
        chosen.steps_per_second,
        tell=lambda recording: report.say(videos.recording_line(recording)),
    )
    policies = videos.Chosen(chosen.preference, chosen.row, chosen.all, chosen.conditioned)
    for line in videos.record(run, policies, chosen.video, options).lines:
        report.say(line)


def export(args: Sequence[str]) -> None:
    """Run `morl export`."""
    chosen = parse(Export, args, "morl export")
    from morl.experiment import report
    from morl.experiment.run import load

    if chosen.fixed_preference and not chosen.conditioned:
        raise ValueError("--fixed-preference is given without --conditioned, which is what makes a preference an input")
    if chosen.fixed_preference and chosen.preference is None:
        raise ValueError("--fixed-preference is given without --preference, which is what it leaves in the graph")
    if chosen.conditioned and chosen.row is not None:
        raise ValueError("--conditioned and --row are both given, but a row has its own preference")
    if chosen.utility != "linear" and (chosen.conditioned or chosen.row is not None):
        raise ValueError("--utility has no effect with --conditioned or --row: it chooses the policy for a preference")
    file = Path(f"policy.{chosen.format}") if chosen.output is None else chosen.output
    endings = EXPORT_ENDINGS[chosen.format]
    if not file.name.lower().endswith(endings):
        raise ValueError(
            f"--output is {str(file)!r}, but --format is {chosen.format}, whose files end in"
            f" {' or '.join(endings)}: give another --format or name"
        )
    check_output_file("--output", file, endings)
    run = load(chosen.run, trust=chosen.trust)
    preference = chosen.preference
    if preference is None and chosen.row is None and chosen.conditioned and not chosen.fixed_preference:
        preference = (1.0,) * len(run.front.objectives)  # whichever: the graph takes it as an input
    policy = run.policy(preference, row=chosen.row, utility=chosen.utility, conditioned=chosen.conditioned)
    if chosen.format == "pt":
        if chosen.distribution or chosen.fixed_preference:
            raise ValueError("--distribution and --fixed-preference are of graphs, not of the format pt")
        policy.save(file)
    elif chosen.format == "onnx":
        policy.to_onnx(file, fixed_preference=chosen.fixed_preference, distribution=chosen.distribution)
    else:
        policy.to_torchscript(file, fixed_preference=chosen.fixed_preference, distribution=chosen.distribution)
    every = chosen.conditioned and not chosen.fixed_preference
    report.say(f"{f'the network of {run.agent_name}, for every preference,' if every else policy} written to {file}")


def front(args: Sequence[str]) -> None:
    """Run `morl front`."""
    chosen = parse(ShowFront, args, "morl front")
    from morl.experiment import report
    from morl.experiment.run import load

    if not chosen.runs:
        raise ValueError("morl front needs at least one run folder: morl front RUN... [--plot FILE.png]")
    if chosen.videos and chosen.html is None:
        raise ValueError("--videos is given without --html FILE, the page that the videos would be put into")
    if chosen.plot is not None:
        check_output_file("--plot", chosen.plot, PICTURE_SUFFIXES)
    if chosen.html is not None:
        check_output_file("--html", chosen.html, (".html",))
    runs = []
    damaged = []
    for run in chosen.runs:
        try:
            runs.append(load(run))
        except (ValueError, OSError) as error:
            damaged.append(str(error))
    if chosen.html is not None and runs:  # of other runs the page says why they have no front
        from morl.board.page import write_page

        size = write_page(list(chosen.runs), chosen.html, chosen.videos)
        with_videos = f", {size.videos} videos inside" if chosen.videos else ""
        report.say(f"page written to {chosen.html} ({size.size / 1e6:.1f} MB{with_videos})")
    if runs:
        report.show_fronts(runs, chosen.plot, summary_only=chosen.summary)
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
        hint = f": morl list envs {chosen.what} lists the environments whose id contains it"
        raise ValueError(f"morl list takes one of {', '.join(lists)}, not {chosen.what!r}{hint}")
    if chosen.what == "envs":
        listing.list_envs(chosen.containing)
    elif chosen.containing:
        raise ValueError(f"morl list {chosen.what} takes nothing more, got {chosen.containing!r}")
    else:
        lists[chosen.what]()


def install_completion(args: Sequence[str]) -> None:
    """Run `morl --install-completion`."""
    if len(args) > 1:
        raise ValueError(f"morl --install-completion takes one shell, got {' '.join(args)}")
    from morl.experiment.completion import install

    print(install(args[0] if args else None))  # noqa: T201


COMMANDS: dict[str, Command] = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "choose": choose,
    "watch": watch,
    "export": export,
    "front": front,
    "board": board,
    "list": show_list,
}


def main(args: Sequence[str] | None = None, more: Mapping[str, Command] = MappingProxyType({})) -> None:
    """Run the command line; a failure is one line on standard error and exit code 2 (MORL_TRACEBACK=1 shows where).

    Args:
        args: the words behind `morl`; default: those that the program was called with.
        more: commands beside `COMMANDS`.
    """
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)  # noqa: T201 - this is what was asked for
        return
    if args[0] == "--version":
        print(VERSION)  # noqa: T201
        return
    if args[0] == "--install-completion":
        _run(install_completion, args[1:])
        return
    sys.path.append(os.getcwd())  # "module:Class" is looked for here too, last, so that nothing of ours is hidden
    _run(lambda words: _command(words, {**COMMANDS, **more}), args)


def _command(args: Sequence[str], commands: Mapping[str, Command]) -> None:
    """Run the command that the first argument names, or print its help."""
    name = args[0]
    if name not in commands:
        near = get_close_matches(name, commands, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"morl has no command {name!r}; it has {', '.join(commands)}{hint}")
    if name != "train" and any(word in HELP for word in args[1:]):
        from morl.experiment.help import command_help

        print(command_help(name))  # noqa: T201
        return
    refuse_missing_values(args[1:], flags_with_several_values(name))
    if name != "train":
        refuse_options_of_training(name, args[1:])
    commands[name](args[1:])


def _run(function: Callable[[Sequence[str]], None], args: Sequence[str]) -> None:
    """Call a function; a failure is one line on standard error and exit code 2."""
    try:
        with command_line_style():
            function(args)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            sys.exit(1)
        if os.environ.get("MORL_TRACEBACK"):
            raise
        print(f"morl: {sentence_of(error)}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        from morl.experiment.interrupt import exit_after_interrupt

        exit_after_interrupt()


def _reader_has_gone() -> bool:
    """Return whether nobody reads standard output any more, as in `morl list envs | head -1`; it is closed then."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return True
    return False
