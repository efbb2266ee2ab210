"""`python -m morl` is the command line."""

from morl.experiment.cli import main

if __name__ == "__main__":
    main()
