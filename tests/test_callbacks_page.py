"""The examples of docs/guide/callbacks_and_loggers.md run, one after another, as a reader would run them."""

import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import morl

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "callbacks_and_loggers.md"
BLOCKS = re.findall(r"^```python( optuna)?\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PLAIN = [code for needs, code in BLOCKS if not needs]
OPTUNA = [code for needs, code in BLOCKS if needs]

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step"),
]


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Start a server that receives messages, and yield them."""
    messages: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            messages.append(json.loads(content)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setenv("WEBHOOK", f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield messages
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_examples_run(
    webhook: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in PLAIN:
        exec(compile(code, str(PAGE), "exec"), names)
    evaluations = (tmp_path / "runs" / "early" / "fronts.jsonl").read_text().splitlines()
    assert 3 <= len(evaluations) <= 4
    assert len(webhook) == 4
    assert re.fullmatch(r"runs/notified: hypervolume \S+ at step 5\d\d", webhook[0])
    shares = morl.load("runs/measured").metrics()["custom/large_treasures"]
    assert np.isfinite(shares).sum() == 4
    assert (tmp_path / "runs" / "logged" / "metrics.csv").exists()
    assert not (tmp_path / "runs" / "quiet" / "tensorboard").exists()
    printed = capsys.readouterr().out
    assert "pd-morl-deep-sea-treasure-v0-seed-0: treasure, time" in printed
    assert "  2048 steps:" in printed
    assert "seed-0: complete" in printed


def test_early_stopping_stops_when_nothing_grows() -> None:
    names: dict[str, Any] = {"train": lambda *_, **__: morl, "print": lambda *_: None, "run": None}
    code = next(code for code in PLAIN if "class EarlyStopping" in code).partition("\nrun = ")[0]
    exec(compile(code, str(PAGE), "exec"), names)
    stopping = names["EarlyStopping"](patience=2)

    class Shown:
        def __init__(self, hypervolume: float, new_front: bool = True) -> None:
            self.indicators = {"hypervolume": hypervolume}
            self.new_front = new_front

    answers = [stopping(Shown(value)) for value in (1.0, 2.0, 2.0, 3.0, 1.0)]
    assert answers == [False] * 5
    assert stopping(Shown(3.0, new_front=False)) is False
    assert stopping(Shown(3.0)) is True


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
def test_optuna_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna  # type: ignore[import-not-found, unused-ignore]

    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(PLAIN[0], str(PAGE), "exec"), names)
    (code,) = OPTUNA
    exec(compile(code, str(PAGE), "exec"), names)
    assert len(names["study"].trials) == 3

    class PruneAtOnce(optuna.pruners.BasePruner):  # type: ignore[misc, unused-ignore]
        def prune(self, study: Any, trial: Any) -> bool:
            return True

    study = optuna.create_study(direction="maximize", pruner=PruneAtOnce())
    (tmp_path / "runs").rename(tmp_path / "earlier")
    study.optimize(names["objective"], n_trials=1)
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [256]  # 32 environments make 256 steps at the eighth step
    resumed = morl.resume(tmp_path / "runs" / "optuna" / "trial-0")
    assert resumed.training_steps == 1_024
    assert len((resumed.directory / "fronts.jsonl").read_text().splitlines()) == 4
