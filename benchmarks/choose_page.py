"""How long the page takes for an answer to a comparison, beside the modules of another commit.

    python benchmarks/choose_page.py [--against COMMIT] [--quick]

Sessions with 500 points of 2, 3 and 6 objectives are played in Node.js (the engine of Chromium) by both versions in
turn, in processes of their own. The time of an answer is that of the processor, all threads of the engine included: the
posterior, the recommendation and the next question. The first answers are slow, because nothing is compiled yet. Both
must ask the same questions. Default of --against: the commit before the ranges of utilities were kept with their
particles.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).parents[1]
MODULES = ("morl/board/front/elicitation.js", "morl/board/front/posterior.js")
BEFORE = "81605fa"
PLAY = """
import { readFileSync } from "node:fs";
const { Session } = await import("./elicitation.js");
const { points, weights } = JSON.parse(readFileSync(process.argv[2]));
const times = [], asked = [];
const session = new Session(points);
void session.recommendation, session.question;
const utilityOf = (row) => points[row].reduce((sum, value, k) => sum + value * weights[k], 0);
while (session.question && times.length < 15) {
  const [left, right] = session.question;
  asked.push(`${left} ${right}`);
  const difference = utilityOf(left) - utilityOf(right);
  const answer = Math.abs(difference) < 0.005 ? "equal" : difference > 0 ? "left" : "right";
  const began = process.cpuUsage();
  session.answer(answer);
  void session.recommendation, session.question;
  const { user, system } = process.cpuUsage(began);
  times.push((user + system) / 1000);
}
console.log(JSON.stringify({ times, asked }));
"""


def prepare(folder: Path, commit: str | None) -> Path:
    """Write the modules of a commit, or of the working tree, and return the program that plays sessions with them."""
    folder.mkdir()
    for name in MODULES:
        if commit is None:
            source = (ROOT / name).read_text()
        else:
            shown = ["git", "-C", str(ROOT), "show", f"{commit}:{name}"]
            source = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
        (folder / Path(name).name).write_text(source)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "play.js").write_text(PLAY)
    return folder / "play.js"


def play(program: Path, session: Path) -> dict[str, Any]:
    """Return the milliseconds of each answer of a session, and the pairs that were asked about."""
    run = subprocess.run(["node", str(program), str(session)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default=BEFORE)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if shutil.which("node") is None:
        print("nothing is measured: Node.js is not installed")
        return
    import numpy as np

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        programs = (prepare(folder / "before", arguments.against), prepare(folder / "now", None))
        print("| objectives | before: mean of answers, ms (median; slowest) | now | now / before |\n|---|---|---|---|")
        for objectives in (2, 3, 6):
            times: tuple[list[float], list[float]] = ([], [])
            for seed in range(1 if arguments.quick else 6):
                random = np.random.default_rng([objectives, seed])
                directions = np.abs(random.normal(size=(500, objectives)))
                points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
                session = folder / "session.json"
                weights = random.dirichlet(np.ones(objectives))
                session.write_text(json.dumps({"points": points.tolist(), "weights": weights.tolist()}))
                before, now = (play(program, session) for program in programs)
                assert before["asked"] == now["asked"], "both versions must ask the same questions"
                times[0].extend(before["times"])
                times[1].extend(now["times"])
            cells = [f"{fmean(each):.0f} ({median(each):.0f}; {max(each):.0f})" for each in times]
            print(f"| {objectives} | {cells[0]} | {cells[1]} | {fmean(times[1]) / fmean(times[0]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
