"""The Pareto tab of TensorBoard: a dynamic plugin that answers a handful of fixed addresses.

No address is ever turned into a path: the files of the front end are known by name beforehand, and run names are looked
up among the runs that were found.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tensorboard.plugins import base_plugin
from werkzeug import Request, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import wrap_file

from morl.board import answers
from morl.board.library import Library

FRONT_END = Path(__file__).with_name("front")
TYPES = {".js": "text/javascript", ".css": "text/css"}
LARGEST_REQUEST = 2**20
"""Bytes of a request: the names of more than 5,000 runs."""

Application = Callable[..., Any]


def plotly_file() -> Path:
    """Return plotly.min.js as the installed `plotly` package brings it."""
    from importlib.util import find_spec

    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the package plotly is missing: pip install plotly")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


def front_end_files() -> dict[str, Path]:
    """Return the files of the front end by their name in an address, Plotly's among them."""
    own = {file.name: file for file in sorted(FRONT_END.iterdir()) if file.suffix in TYPES}
    return {**own, "plotly.min.js": plotly_file()}


class ParetoPlugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard is untyped
    """Shows the fronts of all runs under TensorBoard's --logdir."""

    plugin_name = "pareto"

    def __init__(self, context: base_plugin.TBContext) -> None:
        super().__init__(context)
        self.library = Library(Path(context.logdir)) if context.logdir else Library(runs={})
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        """Read the runs and import what the first answer needs while TensorBoard starts."""
        with self.library.lock:
            self.library.refresh()
            answers.listing(self.library)

    def is_active(self) -> bool:
        """Return whether there is any run to show."""
        with self.library.lock:
            self.library.refresh(least_seconds=5.0)
            return bool(self.library.folders)

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Return the name of the tab and the module that draws it."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Pareto", disable_reload=True)

    def get_plugin_apps(self) -> dict[str, Application]:
        """Return the application behind each address."""
        files = {f"/{name}": _file(path) for name, path in front_end_files().items()}
        return {
            **files,
            "/runs": self._answer(lambda _: answers.listing(self.library)),
            "/fronts": self._answer(lambda asked: answers.fronts(self.library, _names(asked))),
            "/films": self._answer(lambda asked: answers.films(self.library, _names(asked))),
            "/film": self._film,
            "/histories": self._answer(lambda asked: answers.histories(self.library, _names(asked))),
            "/curves": self._answer(lambda asked: answers.curves(self.library, _names(asked))),
            "/folds": self._answer(lambda asked: answers.folds(self.library, _names(asked), _step(asked))),
        }

    @property
    def _film(self) -> Application:
        """Return the application that serves one recorded file, or the part of it that a player asks for."""

        @Request.application
        def application(request: Request) -> Response:
            run = request.args.get("run", "")
            name = request.args.get("file", "")
            with self.library.lock:
                self.library.refresh(least_seconds=5.0)
                folder = self.library.folders.get(run)
                films = None if folder is None or name not in folder.films.names() else folder.films
            if films is None or request.method not in ("GET", "HEAD"):
                return _respond(b"there is no such recording", "text/plain", status=404)
            try:
                file = films.open(name)
            except OSError:
                return _respond(b"the recording cannot be read", "text/plain", status=404)
            return _part_of(file, films.kind(name), request)

        return application

    def _answer(self, compute: Callable[[dict[str, Any]], dict[str, Any]]) -> Application:
        @Request.application
        def application(request: Request) -> Response:
            try:
                asked = _asked(request)
                with self.library.lock:
                    self.library.refresh()
                    content = compute(asked)
                return _respond(json.dumps(content, allow_nan=False).encode(), "application/json")
            except ValueError as error:
                return _respond(json.dumps({"error": str(error)}).encode(), "application/json", status=400)

        return application


def _asked(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request; an empty one for GET."""
    if request.method == "GET":
        return {}
    if request.method != "POST" or (request.content_length or 0) > LARGEST_REQUEST:
        raise ValueError("the request must be GET, or POST of at most 1 MB")
    try:
        asked = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise ValueError("the request must hold a JSON object") from None
    if not isinstance(asked, dict):
        raise ValueError(f"the request must hold a JSON object, not {type(asked).__name__}")
    return asked


def _names(asked: dict[str, Any]) -> list[str]:
    names = asked.get("runs", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("runs must be a list of run names")
    return list(dict.fromkeys(names))


def _step(asked: dict[str, Any]) -> int | None:
    step = asked.get("step")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
        raise ValueError(f"step is {step!r}, but must be a whole number or null")
    return step


def _file(path: Path) -> Application:
    """Return an application that serves one file; a browser asks again only when it has changed."""

    @Request.application
    def application(request: Request) -> Response:
        response = _respond(path.read_bytes(), TYPES[path.suffix])
        response.headers["Cache-Control"] = "private, no-cache"
        response.add_etag()
        return response.make_conditional(request)

    return application


def _part_of(file: BinaryIO, kind: str, request: Request) -> Response:
    """Return a file, or the range of its bytes that is asked for: without ranges browsers cannot wind a video."""
    status = os.fstat(file.fileno())
    content = wrap_file(request.environ, file)
    response = Response(content, content_type=kind, direct_passthrough=True)
    response.content_length = status.st_size
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}")
    try:
        return response.make_conditional(request, accept_ranges=True, complete_length=status.st_size)
    except RequestedRangeNotSatisfiable as error:
        file.close()
        refused = _respond(b"no such range", "text/plain", status=416)
        refused.headers["Content-Range"] = f"bytes */{error.length}"
        return refused


def _respond(content: bytes, kind: str, status: int = 200) -> Response:
    response = Response(content, status=status, content_type=f"{kind}; charset=utf-8")
    response.headers["X-Content-Type-Options"] = "nosniff"
    if kind == "application/json":
        response.headers["Cache-Control"] = "no-store"
    return response
