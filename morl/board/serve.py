"""Start TensorBoard with the Pareto tab, the command `morl board`."""

import socket
import time
from pathlib import Path


def serve(logdir: Path, port: int | None, host: str) -> None:
    """Serve TensorBoard for `logdir` until it is interrupted; prints the address of the Pareto tab.

    Args:
        logdir: the folder whose runs are shown.
        port: None takes 6006, or the next one that is free.
        host: who may connect; "localhost" is this machine alone.

    Raises:
        ValueError: the folder does not exist, the port is none or taken, or the host is not known.
    """
    if not logdir.is_dir():
        raise ValueError(f"logdir is {str(logdir)!r}, but must be a folder that exists")
    if port is not None and not 0 <= port <= 65_535:
        raise ValueError(f"port is {port}, but must lie between 0 (any that is free) and 65535")
    try:
        socket.getaddrinfo(host, port or 0)
    except OSError as error:
        raise ValueError(f"host is {host!r}, but must be a name or address of this machine: {error.strerror}") from None
    from tensorboard import default, program

    from morl.board.plugin import ParetoPlugin

    plugins = default.get_plugins()
    if ParetoPlugin not in plugins:  # a checkout that was not installed anew
        plugins.append(ParetoPlugin)
    board = program.TensorBoard(plugins=plugins)
    arguments = ["tensorboard", "--logdir", str(logdir), "--host", host]
    board.configure(argv=[*arguments, "--port", str(port)] if port is not None else arguments)
    try:
        address = board.launch()
    except program.TensorBoardServerException as error:
        raise ValueError(f"TensorBoard cannot start: {error.msg}") from None
    print(f"Pareto fronts of {logdir}: {address}#pareto (Ctrl-C ends it)", flush=True)  # noqa: T201
    while True:
        time.sleep(3600)
