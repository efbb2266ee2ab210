"""A study as an array of Slurm jobs: a script with one element for each run, and what an element calls.

Elements are independent of each other. One that is stopped, by its time limit or for another job, saves its run and
asks to be queued again; one whose run is done ends at once. So a script may be submitted as often as one likes.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from morl.run_folder import FAILURE
from morl.studies.plan import STUDY, PlannedRun, Study, read_study
from morl.studies.worker import perform

STOPPED = 3
"""Exit code of an element whose run was stopped and is to be resumed."""
GRACE_SECONDS = 120
"""Before its time limit, an element is asked to stop."""

TEMPLATE = """\
#!/bin/bash
# Study {name}: {count} runs. Written by `morl study {file} --slurm`; change the #SBATCH lines as your site wants them.
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task={cores}
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{grace}
#SBATCH --output={folder}/slurm-%a.log
cd {here} || exit 1
export OMP_NUM_THREADS={cores} OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1
runs=(
{runs}
)
{python} -P -m morl.studies.slurm {file} {studies} "${{runs[$SLURM_ARRAY_TASK_ID]}}" &
run=$!
trap 'kill -TERM "$run"' TERM
wait "$run"
while kill -0 "$run" 2> /dev/null; do  # the signal ended `wait`, and the run is being saved
    wait "$run"
done
wait "$run"
code=$?
if [ "$code" -eq {stopped} ] || [ "$code" -eq 143 ]; then
    command -v scontrol > /dev/null && scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"""


def write_script(planned: Study, studies: Path, script: Path) -> None:
    """Write the script of a study, and its study.json, so that status and tables know its runs.

    Args:
        planned: the study, read from a file.
        studies: where studies lie.
        script: the file to write.

    Raises:
        ValueError: the study was not read from a file.
        OSError: the script cannot be written.
    """
    if planned.file is None:
        raise ValueError(f"study {planned.name} is a table, but a script for Slurm needs a file that its jobs can read")
    planned.folder.mkdir(parents=True, exist_ok=True)
    (planned.folder / STUDY).write_text(json.dumps(planned.to_json(), indent=1) + "\n")
    text = TEMPLATE.format(
        name=planned.name,
        count=len(planned.runs),
        last=len(planned.runs) - 1,
        cores=planned.cores,
        grace=GRACE_SECONDS,
        stopped=STOPPED,
        here=shlex.quote(str(Path.cwd())),
        folder=planned.folder.absolute(),
        file=shlex.quote(str(planned.file.absolute())),
        studies=shlex.quote(str(studies.absolute())),
        python=shlex.quote(sys.executable),
        runs="\n".join(f"    {shlex.quote(run.name)}" for run in planned.runs),
    )
    script.write_text(text)
    script.chmod(0o755)


def train_element(planned: Study, name: str) -> int:
    """Train a run of a study, or resume it, and return the exit code: 0 done, 1 failed, 3 stopped and saved.

    Args:
        planned: the study.
        name: of the run, `PlannedRun.name`.

    Raises:
        ValueError: the study has no such run.
    """
    runs: dict[str, PlannedRun] = {run.name: run for run in planned.runs}
    if name not in runs:
        raise ValueError(f"study {planned.name} has no run {name}: its file has changed, so write the script again")
    run = runs[name]
    (run.run_dir / FAILURE).unlink(missing_ok=True)
    result = perform(run.job(("morl", "study"), sys.path))
    if result.ending == "failed":
        run.run_dir.mkdir(parents=True, exist_ok=True)
        (run.run_dir / FAILURE).write_text(result.sentence + "\n")
        print(f"{name}: {result.sentence}", file=sys.stderr)  # noqa: T201 - the log of the job
        return 1
    return 0 if result.ending == "done" else STOPPED


def main(words: Sequence[str]) -> int:
    """Train an element; return the exit code.

    Args:
        words: the study.toml, the folder of studies, the name of the run.
    """
    file, studies, name = words
    return train_element(read_study(file, studies), name)


if __name__ == "__main__":
    sys.path.append(str(Path.cwd()))  # "module:Class" of the user's own is looked for here too
    sys.exit(main(sys.argv[1:]))
