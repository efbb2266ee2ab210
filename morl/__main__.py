"""The command line: `morl`, or `python -m morl`."""

from collections.abc import Sequence

try:
    from morl.experiment import cli
except KeyboardInterrupt:  # imports take a second: Ctrl-C ends them as it ends a command
    from morl.experiment.interrupt import exit_after_interrupt

    exit_after_interrupt()


def study(args: Sequence[str]) -> None:
    """Run `morl study`."""
    from morl.studies.cli import run_study

    run_study(args)


def tune(args: Sequence[str]) -> None:
    """Run `morl tune`."""
    from morl.studies.cli import run_tune

    run_tune(args)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; arguments as for `morl.experiment.cli.main`."""
    cli.main(args, {"study": study, "tune": tune})


if __name__ == "__main__":
    main()
