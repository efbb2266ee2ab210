"""What a run leaves behind: strict JSON lines, TensorBoard events that TensorBoard itself reads back, clean resumes."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.mesh import metadata as mesh_metadata
from tensorboard.util import tensor_util

from morl.experiment import recording
from morl.experiment.figures import _staircase, comparison_figure, front_figure
from morl.experiment.recording import Recorder
from morl.experiment.records import RecordMarks, cut_lines

TWO = ("treasure", "time")
THREE = ("first ore", "second ore", "fuel")
NAN = float("nan")


@pytest.fixture(autouse=True)
def _draw_every_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FIGURE_SHARE", math.inf)


def lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, refusing the tokens that strict JSON does not have."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def events(run_dir: Path, folder: str = "tensorboard") -> EventAccumulator:
    return EventAccumulator(str(run_dir / folder), size_guidance={"tensors": 0}).Reload()


def scalars(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto).item()) for event in accumulator.Tensors(tag)]


def record_front(recorder: Recorder, steps: int, points: list[list[float]], **indicators: float | None) -> None:
    array = np.array(points, dtype=np.float64)
    recorder.front(steps, array, np.full_like(array, 0.5), list(range(len(array))), indicators)


def test_metrics_are_lines_and_one_event(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, TWO)
    recorder.metrics(10, {"loss": np.float32(0.5), "steps_per_second": 100, "bad": NAN, "worse": -math.inf})
    # Read before closing: a line is on its way to the disk when the call returns.
    assert lines(tmp_path / "metrics.jsonl") == [
        {"training_steps": 10, "loss": 0.5, "steps_per_second": 100.0, "bad": None, "worse": None}
    ]
    recorder.metrics(20, {"loss": 0.25})
    recorder.close()
    read = events(tmp_path)
    assert scalars(read, "loss") == [(10, 0.5), (20, 0.25)]
    assert scalars(read, "steps_per_second") == [(10, 100.0)]
    assert math.isnan(scalars(read, "bad")[0][1])


def test_metrics_take_one_element_tensors_and_name_what_is_no_number(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    recorder = Recorder(tmp_path, TWO)
    recorder.metrics(1, {"loss": torch.tensor([2.0])})
    with pytest.raises(ValueError, match="metric 'loss' must be a number"):
        recorder.metrics(2, {"loss": torch.zeros(3)})
    recorder.close()
    assert lines(tmp_path / "metrics.jsonl") == [{"training_steps": 1, "loss": 2.0}]


def test_front_is_a_line_scalars_and_a_figure(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, TWO, known_front=np.array([[1.0, -1.0], [2.0, -3.0]]))
    points = np.array([[1.0, -1.0], [2.0, -4.0]])
    preferences = np.array([[0.25, 0.75], [NAN, NAN]])
    indicators = {"hypervolume": 12.5, "cardinality": 2, "sparsity": NAN, "igd_plus": 0.5, "maximum_utility_loss": None}
    recorder.front(100, points, preferences, np.array([3, 5]), indicators)
    record_front(recorder, 200, [[1.0, -1.0]], hypervolume=13.0)
    recorder.close()
    first, second = lines(tmp_path / "fronts.jsonl")
    assert first == {
        "training_steps": 100,
        "points": [[1.0, -1.0], [2.0, -4.0]],
        "preferences": [[0.25, 0.75], [None, None]],
        "policy_ids": [3, 5],
        "indicators": {**indicators, "sparsity": None},
    }
    assert second["training_steps"] == 200
    read = events(tmp_path)
    assert scalars(read, "front/hypervolume") == [(100, 12.5), (200, 13.0)]
    assert scalars(read, "front/igd_plus") == [(100, 0.5)]
    assert "front/maximum_utility_loss" not in read.summary_metadata
    assert "front/mesh_VERTEX" not in read.summary_metadata
    pictures = read.Tensors("front/figure")
    assert [picture.step for picture in pictures] == [100, 200]
    width, height, png = tensor_util.make_ndarray(pictures[0].tensor_proto)
    assert png.startswith(b"\x89PNG")
    # The size of the picture stands in bytes 16 to 24 of a PNG file.
    assert (int(width), int(height)) == (int.from_bytes(png[16:20]), int.from_bytes(png[20:24]))


def test_an_empty_front_is_recorded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, THREE)
    recorder.front(1, np.empty((0, 3)), np.empty((0, 3)), [], {"hypervolume": 0.0})
    recorder.finish(np.empty((0, 3)), np.empty((0, 3)), [], {})
    recorder.close()
    assert lines(tmp_path / "fronts.jsonl")[0]["points"] == []


def test_three_objectives_are_a_cloud_in_the_unit_cube(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, THREE, known_front=np.array([[0.0, 0.0, -1000.0], [4.0, 0.0, 0.0]]))
    record_front(recorder, 7, [[1.0, 0.0, -500.0]])
    recorder.close()
    read = events(tmp_path)
    (vertices,) = (tensor_util.make_ndarray(event.tensor_proto) for event in read.Tensors("front/mesh_VERTEX"))
    np.testing.assert_allclose(vertices, [[[0, 0, 0], [1, 0, 1], [0.25, 0, 0.5]]])
    (colors,) = (tensor_util.make_ndarray(event.tensor_proto) for event in read.Tensors("front/mesh_COLOR"))
    assert colors[0].tolist() == [list(recording.KNOWN_COLOR)] * 2 + [list(recording.FRONT_COLOR)]
    data = mesh_metadata.parse_plugin_metadata(read.SummaryMetadata("front/mesh_VERTEX").plugin_data.content)
    assert (data.name, list(data.shape)) == ("front/mesh", [1, 3, 3])


def test_text_is_markdown(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, TWO)
    recorder.text("command", "`morl train pd-morl deep-sea-treasure-v0`")
    recorder.close()
    read = events(tmp_path)
    assert read.SummaryMetadata("command").plugin_data.plugin_name == "text"
    content = tensor_util.make_ndarray(read.Tensors("command")[0].tensor_proto)
    assert content.tolist() == [b"`morl train pd-morl deep-sea-treasure-v0`"]


def hparams(run_dir: Path, row: str) -> dict[str, Any]:
    read = events(run_dir, f"tensorboard/policies/{row}")
    content = read.SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = hparams_metadata.parse_session_start_info_plugin_data(content)
    assert hparams_metadata.SESSION_END_INFO_TAG in read.summary_metadata
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}


def test_finish_writes_one_row_per_policy(tmp_path: Path) -> None:
    points, preferences = np.array([[1.0, -1.0], [2.0, -3.0]]), np.array([[0.25, 0.75], [NAN, NAN]])
    for _ in range(2):  # the second time as after a resume: rows are replaced, not added
        recorder = Recorder(tmp_path, TWO)
        recorder.metrics(50, {})
        recorder.finish(
            points, preferences, [4, 9], {"agent": "pd-morl", "dueling": True, "rate": 0.5, "sizes": (8, 8)}
        )
        recorder.close()
    assert sorted(path.name for path in (tmp_path / "tensorboard/policies").iterdir()) == ["0000", "0001"]
    common = {"agent": "pd-morl", "dueling": True, "rate": 0.5, "sizes": "(8, 8)"}
    assert hparams(tmp_path, "0000") == {
        **common,
        "policy": 4.0,
        "preference/treasure": 0.25,
        "preference/time": 0.75,
    }
    assert hparams(tmp_path, "0001") == {**common, "policy": 9.0}
    row = events(tmp_path, "tensorboard/policies/0001")
    assert scalars(row, "objective/treasure") == [(50, 2.0)]
    assert scalars(row, "objective/time") == [(50, -3.0)]
    assert len(list((tmp_path / "tensorboard/policies/0001").iterdir())) == 1


def test_tensorboards_hparams_table_shows_the_rows(tmp_path: Path) -> None:
    """The columns are inferred by TensorBoard's own backend."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams.backend_context import Context

    recorder = Recorder(tmp_path, TWO)
    recorder.finish(np.array([[1.0, -1.0], [2.0, -3.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]), [0, 0], {"seed": 3})
    recorder.close()
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    request = RequestContext()
    context = Context(TBContext(data_provider=provider))
    experiment = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), context.hparams_from_data_provider(request, "", None)
    )
    assert {"preference/treasure", "preference/time", "policy", "seed"} == {i.name for i in experiment.hparam_infos}
    assert {metric.name.tag for metric in experiment.metric_infos} == {"objective/treasure", "objective/time"}


def test_more_than_a_hundred_policies_are_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "POLICIES_SHOWN", 3)
    recorder = Recorder(tmp_path, TWO)
    recorder.finish(np.zeros((9, 2)), np.full((9, 2), 0.5), np.arange(9), {})
    recorder.close()
    assert sorted(path.name for path in (tmp_path / "tensorboard/policies").iterdir()) == ["0000", "0004", "0008"]


def test_resume_takes_back_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, TWO)
    for steps in (10, 20, 30):
        recorder.metrics(steps, {"loss": float(steps)})
        record_front(recorder, steps, [[steps, -1.0]], hypervolume=float(steps))
        if steps == 20:
            marks = RecordMarks(20, recorder.marks)
    recorder.close()
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.write_bytes(first.read_bytes()[:-3])  # as a crash leaves it
    recorder = Recorder(tmp_path, TWO, resume=marks)
    assert recorder.notes == []
    recorder.metrics(45, {"loss": -45.0})
    recorder.close()
    assert [line["training_steps"] for line in lines(tmp_path / "metrics.jsonl")] == [10, 20, 45]
    assert [line["training_steps"] for line in lines(tmp_path / "fronts.jsonl")] == [10, 20]
    # The orphaned events are gone from the file: TensorBoard's default reader does not heed SessionLog.START.
    read = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=False).Reload()
    assert scalars(read, "loss") == [(10, 10.0), (20, 20.0), (45, -45.0)]
    assert scalars(read, "front/hypervolume") == [(10, 10.0), (20, 20.0)]
    assert [picture.step for picture in read.Tensors("front/figure")] == [10, 20]


def test_an_open_tensorboard_is_told_of_the_resume(tmp_path: Path) -> None:
    first = Recorder(tmp_path, TWO)
    first.close()
    Recorder(tmp_path, TWO, resume=RecordMarks(20, first.marks)).close()
    steps = [
        event.step
        for path in sorted((tmp_path / "tensorboard").iterdir())
        for event in LegacyEventFileLoader(str(path)).Load()
        if event.session_log.status == SessionLog.START
    ]
    assert steps == [0, 21]


def test_a_resumed_run_draws_the_same_past(tmp_path: Path) -> None:
    whole = Recorder(tmp_path / "whole", TWO)
    parts = Recorder(tmp_path / "parts", TWO)
    for steps in range(150):
        if steps in (70, 100):
            parts.close()
            parts = Recorder(tmp_path / "parts", TWO, resume=RecordMarks(steps - 1, parts.marks))
        for recorder in (whole, parts):
            recorder._next_figure = math.inf  # pictures are not the point, their past is
            record_front(recorder, steps, [[steps, -1.0]])
    assert np.array_equal(whole._history, parts._history)
    assert 32 <= len(whole._history) <= 64
    whole.close()
    parts.close()


@pytest.mark.parametrize("half", ['{"training_steps": 3, "lo', '{"training_steps": 3, "loss": 1.0}', "\x00\x00"])
def test_a_half_written_last_line_is_cut_off(tmp_path: Path, half: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"training_steps": 1}\n{"training_steps": 2}\n' + half)
    cut_lines(path, 10)
    assert path.read_text() == '{"training_steps": 1}\n{"training_steps": 2}\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["nonsense", "[1]", '{"loss": 1}', '{"training_steps": null}'])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"training_steps": 1}}\n{damage}\n{{"training_steps": 2}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        cut_lines(path, 10)


def test_a_new_run_starts_new_records(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        recorder = Recorder(tmp_path, TWO)
        recorder.metrics(0, {"loss": value})
        recorder.close()
    assert lines(tmp_path / "metrics.jsonl") == [{"training_steps": 0, "loss": 2.0}]
    assert scalars(events(tmp_path), "loss") == [(0, 2.0)]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """/dev/full is a disk that is always full."""
    recorder = Recorder(tmp_path, TWO)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, recorder._metrics._descriptor)
    os.close(full)
    with pytest.raises(OSError, match="No space left") as caught:
        recorder.metrics(1, {"loss": 1.0})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
    recorder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        Recorder(tmp_path / "file", TWO)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    with pytest.raises(OSError, match="tensorboard"):
        Recorder(tmp_path / "run", TWO)


def test_figures_do_not_take_over_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FIGURE_SHARE", 1e-9)
    recorder = Recorder(tmp_path, TWO)
    for steps in (1, 2, 3):
        record_front(recorder, steps, [[1.0, -1.0]])
    recorder.finish(np.array([[1.0, -1.0]]), np.array([[0.5, 0.5]]), [0], {})
    recorder.close()
    # The first, and the last one in any case.
    assert [picture.step for picture in events(tmp_path).Tensors("front/figure")] == [1, 3]


def test_importing_is_light() -> None:
    code = (
        "import sys; import morl.experiment.recording;"
        "print({'torch', 'matplotlib', 'tensorboard', 'numba', 'gymnasium'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    "objectives", [TWO, THREE, ("protein", "carbohydrate", "fat", "vitamins", "minerals", "water")]
)
def test_nothing_is_clipped_and_every_pair_is_drawn_once(objectives: tuple[str, ...]) -> None:
    m = len(objectives)
    points = np.random.default_rng(0).uniform(-12000, 12000, (20, m))
    for figure in (
        front_figure(points, objectives, points, [points / 2], title="a title"),
        comparison_figure({"one": points, "another": points / 2}, objectives, points, title="a title"),
    ):
        figure.draw_without_rendering()
        drawn = figure.get_tightbbox()
        assert min(drawn.x0, drawn.y0) >= 0
        assert drawn.x1 <= figure.get_figwidth()
        assert drawn.y1 <= figure.get_figheight()
        assert len(figure.axes) == m * (m - 1) // 2
        labels = {label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())}
        assert labels - {""} == set(objectives)


def test_comparison_tells_many_fronts_apart() -> None:
    figure = comparison_figure({f"run {i}": [[1.0, 2.0]] for i in range(15)}, TWO)
    looks = {
        (tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in figure.axes[0].collections
    }
    assert len(looks) == 15


def test_staircase_is_the_border_of_the_dominated_region() -> None:
    points = np.array([[1.0, 5.0], [3.0, 3.0], [2.0, 3.0], [3.0, 1.0], [0.0, 5.0], [5.0, 0.0], [1.0, 5.0]])
    assert _staircase(points).tolist() == [[1.0, 5.0], [3.0, 3.0], [5.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0, 3.0]], TWO), r"points must have shape \[point, 2\], not \[1, 3\]"),
        (([[1.0, 2.0]], TWO, [[1.0]]), r"known_front must have shape"),
        (([[1.0, 2.0]], TWO, None, [[1.0]]), r"history must have shape"),
        (([[1.0]], ("treasure",)), r"at least two objectives"),
    ],
)
def test_wrong_shapes_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        front_figure(*arguments)


@pytest.mark.parametrize(
    "name", ["cost in $ and $", "$\\frac{", "_hidden", "a\x1b[31mred", "line\nbreak", "^{", "$" * 30]
)
def test_names_are_drawn_letter_by_letter(name: str) -> None:
    objectives = (name, f"{name} too")
    figure = comparison_figure({name: [[1.0, 2.0]], "other": [[2.0, 1.0]]}, objectives, title=name)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 2
    shown = [text.get_text() for text in (*legend.get_texts(), figure.axes[0].title, figure.axes[0].xaxis.label)]
    assert not [text for text in shown if "\x1b" in text]
    assert {text._preprocess_math(text.get_text())[1] for text in (*legend.get_texts(), figure.axes[0].title)} == {
        False
    }


def test_a_clock_that_goes_backwards_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, TWO)
    recorder.metrics(10, {"loss": 10.0})
    marks = RecordMarks(10, recorder.marks)
    recorder.close()
    now, seconds = time.time_ns(), time.time()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3600 * 10**9)
    monkeypatch.setattr(time, "time", lambda: seconds - 3600)
    recorder = Recorder(tmp_path, TWO, resume=marks)
    recorder.metrics(20, {"loss": 20.0})
    recorder.close()
    assert scalars(events(tmp_path), "loss") == [(10, 10.0), (20, 20.0)]
