"""TensorBoard event files, written directly.

TensorBoard's own writer hands records to a thread and reports a full disk long after; `torch.utils.tensorboard` writes
one event per scalar, at several times the cost. Here one event holds all scalars of a flush and reaches the operating
system before the call returns, and an error names the file. The record format and the messages are
tensorboard's own; TensorFlow is not needed. TensorBoard is imported when the first file is opened.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.experiment.files import AppendOnlyFile, FileMark, make_folder, refuse_special, write_whole

POINT_CLOUD = {"material": {"cls": "PointsMaterial", "size": 0.02}}
"""three.js settings of the mesh plugin: points two hundredths of the front's extent wide."""


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder, oldest first; what a killed process left half-made is none."""
    return sorted(file for file in folder.glob("events.out.tfevents.*") if file.name.rpartition(".")[2].isdecimal())


def cut_events(path: Path, last_step: int) -> None:
    """Remove what an event file recorded after `last_step`, and a record that was only half written.

    TensorBoard has a message for this, `SessionLog.START`, which its Python reader heeds. The reader that it uses by
    default (tensorboard-data-server 0.7.2) does not, so the events themselves have to go.

    Args:
        path: the file.
        last_step: training step of the last event that stays.

    Raises:
        OSError: naming the file, if it cannot be rewritten.
    """
    from tensorboard.compat.proto import event_pb2

    refuse_special(path)
    content = path.read_bytes()
    kept = []
    for record in _records(content):
        try:
            step = event_pb2.Event.FromString(record[12:-4]).step
        except Exception:  # protobuf's DecodeError, which is not typed: not a record of TensorBoard's
            continue
        if step <= last_step:
            kept.append(record)
    if b"".join(kept) != content:
        write_whole(path, b"".join(kept))


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the whole records of an event file: length (8 bytes), checksum (4), one `Event`, checksum (4)."""
    start = 0
    while start + 8 <= len(content):
        length = int.from_bytes(content[start : start + 8], "little")
        end = start + 8 + 4 + length + 4
        if length == 0 or end > len(content):  # no event is empty
            return
        yield content[start:end]
        start = end


def _new_name(folder: Path) -> str:
    """Return the name of a new event file, behind all others: TensorBoard reads files in the order of their names.

    Where the clock went backwards, the name does not.
    """
    last = max((int(file.name.rpartition(".")[2]) for file in event_files(folder)), default=0)
    return f"events.out.tfevents.{max(time.time_ns(), last + 1):020d}"


def _nothing(tag: str) -> str:
    """Return the description of a tag that nobody describes."""
    del tag
    return ""


class EventFile:
    """One TensorBoard event file in `folder`, written event by event.

    Args:
        folder: where the file goes; created when it is missing. TensorBoard reads the files of a folder as one run.
        first_step: a TensorBoard that has the folder open drops what earlier files recorded at this step or later.

    Raises:
        OSError: naming the file, if it cannot be written.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        make_folder(folder)
        self._file = AppendOnlyFile(folder / _new_name(folder))
        self._records = RecordWriter(self._file)
        self._described: set[str] = set()  # tags whose description is in this file
        self._add(0, file_version="brain.Event:2")
        self._add(first_step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    @property
    def path(self) -> Path:
        """Return the file."""
        return self._file.path

    @property
    def mark(self) -> FileMark:
        """Return how far the file has been written."""
        return self._file.mark

    def _add(self, step: int, **content: object) -> None:
        from tensorboard.compat.proto import event_pb2

        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._records.write(event.SerializeToString())

    def scalars(self, step: int, values: Mapping[str, float], describe: Callable[[str], str] = _nothing) -> None:
        """Record numbers under their tags, all in one event.

        Args:
            step: the horizontal axis.
            values: tag -> number.
            describe: tag -> its description (Markdown), recorded with the first number of the tag; default: none.
        """
        from tensorboard.compat.proto import summary_pb2

        scalars = []
        for tag, value in values.items():
            scalar = summary_pb2.Summary.Value(tag=tag, simple_value=value)
            if tag not in self._described:
                self._described.add(tag)
                scalar.metadata.plugin_data.plugin_name = "scalars"
                scalar.metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
                scalar.metadata.summary_description = describe(tag)
            scalars.append(scalar)
        self._add(step, summary=summary_pb2.Summary(value=scalars))

    def image(self, step: int, tag: str, png: bytes, width: int, height: int) -> None:
        """Record a PNG picture of the given size in pixels."""
        from tensorboard.compat.proto import summary_pb2

        image = summary_pb2.Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
        self._add(step, summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, image=image)]))

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Record a text, shown as Markdown."""
        self._tensors(step, [(tag, "text", b"", np.array([markdown.encode()], dtype=object))])

    def point_cloud(self, step: int, tag: str, points: NDArray[np.float64], colors: NDArray[np.uint8]) -> None:
        """Record a rotatable cloud of `points` [point, 3] with `colors` [point, 3] (red, green, blue)."""
        from tensorboard.plugins.mesh import metadata, plugin_data_pb2

        kinds = plugin_data_pb2.MeshPluginData
        parts: dict[int, NDArray[Any]] = {
            kinds.VERTEX: points[np.newaxis].astype(np.float32),
            kinds.COLOR: colors[np.newaxis],
        }
        components = metadata.get_components_bitmask(parts)
        tensors = []
        for kind, tensor in parts.items():
            data = kinds(
                version=metadata.get_current_version(),
                name=tag,
                content_type=kind,
                components=components,
                shape=tensor.shape,
                json_config=json.dumps(POINT_CLOUD, sort_keys=True),
            )
            name = metadata.get_instance_name(tag, kind)
            tensors.append((name, metadata.PLUGIN_NAME, data.SerializeToString(), tensor))
        self._tensors(step, tensors)

    def begin_session(self, hyper_parameters: Mapping[str, bool | float | str]) -> None:
        """Record what this folder's run is run with: its row of TensorBoard's table of hyper-parameters.

        The columns are left to TensorBoard, which collects them from all rows it finds: a declaration by one run would
        hide those of other agents, and which hyper-parameters differ.
        """
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in hyper_parameters.items():
            kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(start.hparams[name], kind, value)
        self._session(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start))

    def end_session(self) -> None:
        """Record that the run is complete, for its row of TensorBoard's table of hyper-parameters."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        self._session(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))

    def _session(self, tag: str, data: object) -> None:
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.hparams import metadata

        value = summary_pb2.Summary.Value(
            tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
        )
        self._add(0, summary=summary_pb2.Summary(value=[value]))

    def _tensors(self, step: int, tensors: list[tuple[str, str, bytes, NDArray[Any]]]) -> None:
        """Record tensors (tag, plugin, the plugin's data, tensor) in one event."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.util.tensor_util import make_tensor_proto

        values = []
        for tag, plugin, data, tensor in tensors:
            plugin_data = summary_pb2.SummaryMetadata.PluginData(plugin_name=plugin, content=data)
            metadata = summary_pb2.SummaryMetadata(plugin_data=plugin_data)
            values.append(summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto(tensor)))
        self._add(step, summary=summary_pb2.Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        self._records.close()
