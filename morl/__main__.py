"""`python -m morl` is the command line."""

from morl.experiment.cli import main

main()
