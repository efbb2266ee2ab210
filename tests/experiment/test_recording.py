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

from morl.experiment import file_loggers, recording
from morl.experiment.figures import _staircase, comparison_figure, front_figure
from morl.experiment.loggers import LoggedRun
from morl.experiment.recording import Recorder
from morl.experiment.records import RecordMarks, cut_lines
from morl.run_folder import EvaluationRecord

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


def open_recorder(
    folder: Path, objectives: tuple[str, ...], resume: RecordMarks | None = None, **described: Any
) -> Recorder:
    return Recorder(LoggedRun(directory=folder, objectives=objectives, **described), resume=resume)


def evaluation(
    steps: int, points: Any, preferences: Any, policy_ids: Any, indicators: dict[str, float | None]
) -> EvaluationRecord:
    return EvaluationRecord(
        training_steps=steps,
        points=points,
        preferences=preferences,
        policy_ids=np.asarray(policy_ids, dtype=np.int64),
        indicators=indicators,
    )


def record_front(recorder: Recorder, steps: int, points: list[list[float]], **indicators: float | None) -> None:
    array = np.array(points, dtype=np.float64)
    recorder.front(evaluation(steps, array, np.full_like(array, 0.5), range(len(array)), indicators))


def test_metrics_are_lines_and_one_event(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, TWO)
    recorder.metrics(10, {"loss": np.float32(0.5), "steps_per_second": 100, "bad": NAN, "worse": -math.inf})
    # Read before closing: a line is on its way to the disk when the call returns.
    assert lines(tmp_path / "metrics.jsonl") == [
        {"training_steps": 10, "loss": 0.5, "steps_per_second": 100.0, "bad": None, "worse": None}
    ]
    recorder.metrics(20, {"loss": 0.25})
    recorder.close()
    read = events(tmp_path)
    assert scalars(read, "losses/loss") == [(10, 0.5), (20, 0.25)]
    assert scalars(read, "time/steps_per_second") == [(10, 100.0)]
    assert math.isnan(scalars(read, "losses/bad")[0][1])


def test_metrics_take_one_element_tensors_and_name_what_is_no_number(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    recorder = open_recorder(tmp_path, TWO)
    recorder.metrics(1, {"loss": torch.tensor([2.0])})
    with pytest.raises(ValueError, match="metric 'loss' must be a number"):
        recorder.metrics(2, {"loss": torch.zeros(3)})
    recorder.close()
    assert lines(tmp_path / "metrics.jsonl") == [{"training_steps": 1, "loss": 2.0}]


def test_front_is_a_line_scalars_and_a_figure(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, TWO, known_front=np.array([[1.0, -1.0], [2.0, -3.0]]))
    points = np.array([[1.0, -1.0], [2.0, -4.0]])
    preferences = np.array([[0.25, 0.75], [NAN, NAN]])
    indicators = {"hypervolume": 12.5, "cardinality": 2, "sparsity": NAN, "igd_plus": 0.5, "maximum_utility_loss": None}
    recorder.front(evaluation(100, points, preferences, [3, 5], indicators))
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
    recorder = open_recorder(tmp_path, THREE)
    recorder.front(evaluation(1, np.empty((0, 3)), np.empty((0, 3)), [], {"hypervolume": 0.0}))
    recorder.finish(np.empty((0, 3)))
    recorder.close()
    assert lines(tmp_path / "fronts.jsonl")[0]["points"] == []


def test_three_objectives_are_a_cloud_in_the_unit_cube(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, THREE, known_front=np.array([[0.0, 0.0, -1000.0], [4.0, 0.0, 0.0]]))
    record_front(recorder, 7, [[1.0, 0.0, -500.0]])
    recorder.close()
    read = events(tmp_path)
    (vertices,) = (tensor_util.make_ndarray(event.tensor_proto) for event in read.Tensors("front/mesh_VERTEX"))
    np.testing.assert_allclose(vertices, [[[0, 0, 0], [1, 0, 1], [0.25, 0, 0.5]]])
    (colors,) = (tensor_util.make_ndarray(event.tensor_proto) for event in read.Tensors("front/mesh_COLOR"))
    assert colors[0].tolist() == [list(file_loggers.KNOWN_COLOR)] * 2 + [list(file_loggers.FRONT_COLOR)]
    data = mesh_metadata.parse_plugin_metadata(read.SummaryMetadata("front/mesh_VERTEX").plugin_data.content)
    assert (data.name, list(data.shape)) == ("front/mesh", [1, 3, 3])


def test_text_is_markdown(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, TWO)
    recorder.text("command", "`morl train pd-morl deep-sea-treasure-v0`")
    recorder.close()
    read = events(tmp_path)
    assert read.SummaryMetadata("command").plugin_data.plugin_name == "text"
    content = tensor_util.make_ndarray(read.Tensors("command")[0].tensor_proto)
    assert content.tolist() == [b"`morl train pd-morl deep-sea-treasure-v0`"]


def hyper_parameters_table(folder: Path) -> tuple[list[dict[str, Any]], list[str], set[str]]:
    """Return the rows of TensorBoard's table, its hyper-parameters that differ first, and its metrics.

    The columns are inferred by TensorBoard's own backend.
    """
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams.backend_context import Context

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    request = RequestContext()
    context = Context(TBContext(data_provider=provider))
    metadata = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(
        request, "", True, metadata, context.hparams_from_data_provider(request, "", None)
    )
    rows = []
    for tags in metadata.values():
        start = hparams_metadata.parse_session_start_info_plugin_data(tags[hparams_metadata.SESSION_START_INFO_TAG])
        rows.append({name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()})
    columns = [info.name for info in experiment.hparam_infos if info.differs]
    return rows, columns, {metric.name.tag for metric in experiment.metric_infos}


def test_a_run_is_one_row_of_hyper_parameters(tmp_path: Path) -> None:
    common = {"agent_name": "pd-morl", "dueling": True}
    for seed, rate in enumerate((0.5, None)):
        run = tmp_path / f"seed-{seed}"
        recorder = open_recorder(run, TWO, settings=common | {"rate": rate or "None", "sizes": "(8, 8)", "seed": seed})
        record_front(recorder, 40, [[1.0, -1.0], [2.0, -3.0]], hypervolume=3.0)
        marks = RecordMarks(40, recorder.marks)
        recorder.close()
        recorder = open_recorder(run, TWO, resume=marks)
        record_front(recorder, 50, [[1.0, -1.0], [2.0, -3.0]], hypervolume=4.0)
        recorder.finish(np.array([[1.0, -1.0], [2.0, -3.0]]))
        recorder.close()
        assert hparams_metadata.SESSION_END_INFO_TAG in events(run).summary_metadata
        assert all(path.is_file() for path in (run / "tensorboard").iterdir())  # TensorBoard sees one run, not more
    rows, differing, metrics = hyper_parameters_table(tmp_path)
    common |= {"sizes": "(8, 8)"}
    assert sorted(rows, key=lambda row: row["seed"]) == [
        {**common, "rate": 0.5, "seed": 0.0},
        {**common, "rate": "None", "seed": 1.0},
    ]
    assert sorted(differing) == ["rate", "seed"]
    assert metrics == {"front/hypervolume"}


def test_tags_have_groups_and_descriptions(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, TWO, descriptions={"loss": "What is minimized.", "key_*": "One of the keys."})
    for steps in (10, 20):
        values = {"loss": 1.0, "key_7": 2.0, "wall_seconds": 3.0, "selection/hypervolume": 4.0, "other": 5.0}
        recorder.metrics(steps, values | {"rollout/return/time": 6.0, "conditioned_utility": 7.0})
    record_front(recorder, 20, [[1.0, -1.0]], hypervolume=8.0)
    recorder.close()
    read = events(tmp_path)
    described = {tag: metadata.summary_description for tag, metadata in read.summary_metadata.items()}
    assert described["losses/loss"] == "What is minimized."
    assert described["losses/key_7"] == "One of the keys."
    assert described["losses/other"] == ""
    for tag in ("time/wall_seconds", "front/selection/hypervolume", "rollout/return/time", "front/hypervolume"):
        assert len(described[tag]) > 20, tag
    assert scalars(read, "evaluation/conditioned_utility") == [(10, 7.0), (20, 7.0)]
    # Later events do not repeat the descriptions.
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert file.read_bytes().count(b"What is minimized.") == 1


def test_pretraining_has_its_own_axis_and_survives_a_resume(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, TWO)
    for steps in (100, 200, 300):
        values = {"rollout/pretraining/episodes": steps / 100}
        recorder.pretraining_metrics(values, {"pretraining_steps": steps})
        if steps == 200:
            early = RecordMarks(0, recorder.marks, pretraining_steps=200)
    recorder.metrics(50, {"loss": 1.0})
    late = RecordMarks(50, recorder.marks, pretraining_steps=300)
    recorder.metrics(60, {"loss": 2.0})
    recorder.close()
    first = lines(tmp_path / "metrics.jsonl")[0]
    assert first == {"training_steps": 0, "rollout/pretraining/episodes": 1.0, "pretraining_steps": 100}
    for marks, expected in ((late, [100, 200, 300]), (early, [100, 200])):
        open_recorder(tmp_path, TWO, resume=marks).close()
        # As TensorBoard's own reader sees it, which drops what it is told to be orphaned.
        read = events(tmp_path)
        assert [step for step, _ in scalars(read, "rollout/pretraining/episodes")] == expected
        assert len(lines(tmp_path / "metrics.jsonl")) == len(expected) + (marks is late)


def test_resume_takes_back_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, TWO)
    for steps in (10, 20, 30):
        recorder.metrics(steps, {"loss": float(steps)})
        record_front(recorder, steps, [[steps, -1.0]], hypervolume=float(steps))
        if steps == 20:
            marks = RecordMarks(20, recorder.marks)
    recorder.close()
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.write_bytes(first.read_bytes()[:-3])  # as a crash leaves it
    recorder = open_recorder(tmp_path, TWO, resume=marks)
    assert recorder.notes == []
    recorder.metrics(45, {"loss": -45.0})
    recorder.close()
    assert [line["training_steps"] for line in lines(tmp_path / "metrics.jsonl")] == [10, 20, 45]
    assert [line["training_steps"] for line in lines(tmp_path / "fronts.jsonl")] == [10, 20]
    # The orphaned events are gone from the file: TensorBoard's default reader does not heed SessionLog.START.
    read = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=False).Reload()
    assert scalars(read, "losses/loss") == [(10, 10.0), (20, 20.0), (45, -45.0)]
    assert scalars(read, "front/hypervolume") == [(10, 10.0), (20, 20.0)]
    assert [picture.step for picture in read.Tensors("front/figure")] == [10, 20]


def test_an_open_tensorboard_is_told_of_the_resume(tmp_path: Path) -> None:
    first = open_recorder(tmp_path, TWO)
    first.close()
    open_recorder(tmp_path, TWO, resume=RecordMarks(20, first.marks)).close()
    steps = [
        event.step
        for path in sorted((tmp_path / "tensorboard").iterdir())
        for event in LegacyEventFileLoader(str(path)).Load()
        if event.session_log.status == SessionLog.START
    ]
    assert steps == [0, 21]


def test_a_resumed_run_draws_the_same_past(tmp_path: Path) -> None:
    whole = open_recorder(tmp_path / "whole", TWO)
    parts = open_recorder(tmp_path / "parts", TWO)
    for steps in range(150):
        if steps in (70, 100):
            parts.close()
            parts = open_recorder(tmp_path / "parts", TWO, resume=RecordMarks(steps - 1, parts.marks))
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
        recorder = open_recorder(tmp_path, TWO)
        recorder.metrics(0, {"loss": value})
        recorder.close()
    assert lines(tmp_path / "metrics.jsonl") == [{"training_steps": 0, "loss": 2.0}]
    assert scalars(events(tmp_path), "losses/loss") == [(0, 2.0)]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """/dev/full is a disk that is always full."""
    recorder = open_recorder(tmp_path, TWO)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, recorder._lines._metrics._descriptor)
    os.close(full)
    with pytest.raises(OSError, match="No space left") as caught:
        recorder.metrics(1, {"loss": 1.0})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
    recorder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        open_recorder(tmp_path / "file", TWO)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    with pytest.raises(OSError, match="tensorboard"):
        open_recorder(tmp_path / "run", TWO)


def test_figures_do_not_take_over_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FIGURE_SHARE", 1e-9)
    recorder = open_recorder(tmp_path, TWO)
    for steps in (1, 2, 3):
        record_front(recorder, steps, [[1.0, -1.0]])
    recorder.finish(np.array([[1.0, -1.0]]))
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
    recorder = open_recorder(tmp_path, TWO)
    recorder.metrics(10, {"loss": 10.0})
    marks = RecordMarks(10, recorder.marks)
    recorder.close()
    now, seconds = time.time_ns(), time.time()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3600 * 10**9)
    monkeypatch.setattr(time, "time", lambda: seconds - 3600)
    recorder = open_recorder(tmp_path, TWO, resume=marks)
    recorder.metrics(20, {"loss": 20.0})
    recorder.close()
    assert scalars(events(tmp_path), "losses/loss") == [(10, 10.0), (20, 20.0)]
