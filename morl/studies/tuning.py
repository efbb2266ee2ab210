"""`morl tune`: find settings with Optuna, in several processes and on several nodes.

All that is known of a tuning lies in a journal file in its folder: any number of processes and nodes that see the
folder work on it. A trial belongs to the process that has locked its folder; one that was begun and has no owner was
left by a process that died, and the next process that looks resumes it, bit for bit.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from morl.studies.processes import usable_cores
from morl.studies.tuning_plan import TUNINGS, Tuning, read_tuning

if TYPE_CHECKING:
    from morl.studies.tuned import Tuned


def tune(
    source: str | Path | Mapping[str, object],
    *,
    folder: str | Path = TUNINGS,
    workers: int | None = None,
    executor: str = "processes",
    tell: Callable[[str], None] | None = None,
) -> "Tuned":
    """Make the trials of a tuning that are missing, and return what it has found.

    Started again, it goes on: finished trials stay, those that were cut short are resumed from their checkpoints.

    Args:
        source: the path of a tune.toml, or what such a file holds as a table.
        folder: where tunings lie; this one goes to <folder>/<name>.
        workers: trials at once; default: the cores of this machine, or of the cluster, // the cores of each run.
        executor: "processes" on this machine, or "ray" or the address of a Ray cluster.
        tell: is called with a line about each trial; default: it is printed.

    Raises:
        ValueError: something is wrong with the file, in one sentence, or Optuna is not installed.
        KeyboardInterrupt: Ctrl-C; the trials are saved.
    """
    if find_spec("optuna") is None:
        raise ValueError("tuning needs Optuna, which is not installed: pip install 'morl-suite[tune]'")
    from morl.studies.trials import Trials

    tuning = read_tuning(source, folder)
    count = max(1, len(usable_cores()) // tuning.study.cores) if workers is None else workers
    if count < 1:
        raise ValueError(f"workers is {count}, but must be at least 1")
    if executor not in ("processes", "ray", "auto", "local") and ":" not in executor:
        raise ValueError(
            f'executor is {executor!r:.100}, but must be "processes", "ray", or the address HOST:PORT of a Ray cluster'
        )
    line = _say if tell is None else tell
    if executor != "processes":
        from morl.studies.ray_tuning import make_trials

        make_trials(tuning, "auto" if executor == "ray" else executor, workers, line)
    trials = Trials(tuning, line, seconds(tuning))
    if executor != "processes":
        return trials.tuned
    if count == 1:
        trials.work()
    else:
        _Workers(tuning, count, line).wait()
    return trials.tuned


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def seconds(tuning: Tuning) -> float:
    """Return the seconds after which no trial begins."""
    return math.inf if tuning.search.minutes is None else 60.0 * tuning.search.minutes


class _Workers:
    """Processes on this machine that make the trials of a tuning.

    Each learns the tuning from its standard input, which stays open: when this process dies, however it dies, the
    system closes the pipe, and the others save their trials and end. Ctrl-C in a terminal reaches this process alone.

    Args:
        tuning: the tuning.
        count: number of processes.
        tell: is called with a line about each trial.
    """

    def __init__(self, tuning: Tuning, count: int, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._errors: list[str] = []
        environment = os.environ | {"OMP_NUM_THREADS": str(tuning.study.cores)}
        environment.setdefault("OMP_WAIT_POLICY", "passive")  # as on the command line: morl.experiment.cli
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "morl.studies.tuning"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            for _ in range(count)
        ]
        self._readers = [threading.Thread(target=self._read, args=(process.stdout,)) for process in self._processes]
        task = json.dumps({"source": tuning.source, "folder": str(tuning.parent.absolute()), "paths": sys.path})
        for process, reader in zip(self._processes, self._readers, strict=True):
            assert process.stdin is not None
            process.stdin.write(task.encode() + b"\n")
            process.stdin.flush()
            reader.start()

    def wait(self) -> None:
        """Wait until all have ended.

        Raises:
            ValueError: one of them failed.
            KeyboardInterrupt: Ctrl-C; they have saved their trials.
        """
        try:
            for process in self._processes:
                process.wait()
        except BaseException:
            for process in self._processes:
                process.send_signal(signal.SIGTERM)
            for process in self._processes:
                process.wait()
            raise
        finally:
            for process, reader in zip(self._processes, self._readers, strict=True):
                reader.join()
                assert process.stdin is not None
                process.stdin.close()
        if self._errors:
            raise ValueError(self._errors[0])
        for process in self._processes:
            if process.returncode:
                raise ValueError(
                    f"a process of the tuning ended with exit code {process.returncode}; start it again to go on"
                )

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                message = json.loads(line)
                if "error" in message:
                    self._errors.append(message["error"])
                else:
                    self._tell(message["line"])


def main() -> None:
    """Make trials of the tuning that standard input names; tell what becomes of them on standard output."""
    from morl.studies.trials import Trials

    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed goes to standard error
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_the_tuning, daemon=True).start()
    sys.path += [path for path in task["paths"] if path not in sys.path]

    def tell(line: str) -> None:
        results.write(json.dumps({"line": line}) + "\n")

    try:
        tuning = read_tuning(task["source"], task["folder"])
        Trials(tuning, tell, seconds(tuning)).work()
    except KeyboardInterrupt:  # it was stopped, and its trial is saved
        pass
    except Exception as error:
        results.write(json.dumps({"error": str(error) or type(error).__name__}) + "\n")


def _stop_with_the_tuning() -> None:
    """Wait for the end of standard input, and stop the trial then, as SIGTERM does."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
