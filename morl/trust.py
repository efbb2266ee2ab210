"""Whose code may run: files may name modules, and reading a file imports none of them unasked."""

import sys


def check_trust(where: str, what: str, name: str, trust: bool, remedy: str) -> None:
    """Check that code which a file names may be used: the user trusts the file, or has imported the module already.

    Args:
        where: what the file belongs to, such as "run runs/x".
        what: "agent", "env" or "utility".
        name: a name of this package, or "module:name" or "kind:module:name".
        trust: whether the user trusts the file.
        remedy: what the user can pass.

    Raises:
        ValueError: the module would have to be imported.
    """
    before, separator, _ = name.rpartition(":")
    module = before.rpartition(":")[2]  # "indicator:module:name" has a kind in front
    if separator and not trust and module not in sys.modules:
        raise ValueError(
            f"{where} names the {what} {name!r}, whose module is not imported because a file names it: pass {remedy}"
            " if you trust it, or import it yourself"
        )
