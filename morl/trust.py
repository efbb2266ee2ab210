"""Whose code may run: files may name modules, and reading a file imports none of them unasked."""

import sys


def check_trust(where: str, what: str, name: str, trust: bool, remedy: str) -> None:
    """Check that code which a file names may be used: the user trusts the file, or has imported the module already.

    Modules of Python itself are imported by everybody, and hold functions such as `sys.exit`: they need trust too.

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
    is_users = module in sys.modules and module.partition(".")[0] not in sys.stdlib_module_names
    if separator and not trust and not is_users:
        raise ValueError(
            f"{where} names the {what} {name!r}, whose module is not imported because a file names it: pass {remedy}"
            " if you trust it, or import it yourself"
        )
