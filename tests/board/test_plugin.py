"""The plugin's addresses and requests, and the server around it."""

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from board_runs import write_run
from werkzeug.test import Client

from morl.board import answers
from morl.board.plugin import ParetoPlugin, front_end_files


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client of the plugin as TensorBoard would serve it, over the folder `tmp_path`."""
    plugin = ParetoPlugin(SimpleNamespace(logdir=str(tmp_path)))
    applications = plugin.get_plugin_apps()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] not in applications:
            start_response("404 NOT FOUND", [])
            return [b""]
        plugin.library._searched = -float("inf")
        return applications[environ["PATH_INFO"]](environ, start_response)

    return Client(application)


def test_each_address_answers_with_safe_headers_and_files_are_cached(client: Client, tmp_path: Path) -> None:
    write_run(tmp_path / "<b>run</b>")
    listing = client.get("/runs").json
    assert [run["name"] for run in listing["runs"]] == ["<b>run</b>"]
    for address in ("/fronts", "/histories", "/curves", "/folds"):
        response = client.post(address, json={"runs": ["<b>run</b>"]})
        assert response.status_code == 200, response.data
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert list(client.post("/fronts", json={"runs": ["<b>run</b>"]}).json) == ["<b>run</b>"]
    for name in front_end_files():
        first = client.get(f"/{name}")
        assert first.status_code == 200
        again = client.get(f"/{name}", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "run/../../secret", "%2e%2e/secret", "", "run\x00"])
def test_no_path_leads_out_of_the_logdir(name: str, client: Client, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path.parent / f"{tmp_path.name}-secret" / "secret")
    for address in ("/fronts", "/histories"):
        assert client.post(address, json={"runs": [name]}).json == {}
    for address in (f"/{name}", f"/front/{name}", f"/index.js/../{name}"):
        assert b"root:" not in client.get(address).data


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"data": b"no json"}, "JSON"),
        ({"json": [1]}, "list"),
        ({"json": {"runs": "run"}}, "runs"),
        ({"json": {"runs": [{}]}}, "runs"),
        ({"json": {"runs": [], "step": "x"}}, "step"),
        ({"json": {"runs": [], "step": True}}, "step"),
        ({"data": b"[" * 1_000_000}, "JSON"),
        ({"data": b" " * (2**20 + 1)}, "1 MB"),
    ],
)
def test_malformed_requests_are_refused_in_a_sentence(request_: dict[str, Any], word: str, client: Client) -> None:
    response = client.post("/folds", **request_)
    assert response.status_code == 400
    assert word in response.json["error"]


def test_plugin_is_inactive_without_runs(tmp_path: Path) -> None:
    for logdir in ("", str(tmp_path / "missing")):
        plugin = ParetoPlugin(SimpleNamespace(logdir=logdir))
        assert not plugin.is_active()
        assert answers.listing(plugin.library)["runs"] == []
    write_run(tmp_path / "run")
    assert ParetoPlugin(SimpleNamespace(logdir=str(tmp_path))).is_active()


def test_board_that_cannot_start_says_why(tmp_path: Path, morl_cli: Any) -> None:
    (tmp_path / "file").touch()
    for words, word in (
        ([tmp_path / "file"], "logdir is"),
        ([tmp_path, "--port", -5], "port is -5"),
        ([tmp_path, "--port", 70_000], "port is 70000"),
        ([tmp_path, "--host", "256.0.0.1"], "host is '256.0.0.1'"),
    ):
        code, _, complaint = morl_cli("board", *words)
        assert (code, complaint.count("\n")) == (2, 1)
        assert word in complaint
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        number = taken.getsockname()[1]
        command = [sys.executable, "-c", "from morl.experiment.cli import main; main()", "board", str(tmp_path)]
        done = subprocess.run([*command, "--port", str(number)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"port {number}" in done.stderr.splitlines()[-1]
