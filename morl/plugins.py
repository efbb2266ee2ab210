"""What others add to morl: entry points of packages, found without importing them, and names "module:attribute"."""

import ast
import logging
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple, cast

_WARNED: set["Plugin"] = set()


class Plugin(NamedTuple):
    """An entry point of another package."""

    package: str
    name: str
    value: str
    """ "module:attribute", or a module."""
    group: str

    @property
    def module(self) -> str:
        """Return the module that it names."""
        return self.value.partition(":")[0].strip()

    @property
    def attribute(self) -> str:
        """Return what it names in the module; empty where it names the module."""
        return EntryPoint(self.name, self.value, self.group).attr or ""

    def load(self) -> object:
        """Import what it names, and return it."""
        return EntryPoint(self.name, self.value, self.group).load()


def imported(setting: str, name: str, prefix: str = "") -> Callable[..., Any]:
    """Return the user's own class or function "module:attribute", which is imported.

    Args:
        setting: that names it, for the message.
        name: the name.
        prefix: what the setting says before the name.

    Raises:
        ValueError: it cannot be imported, or is neither a class nor a function.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{setting} is {prefix + name!r}, but it cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{setting} is {prefix + name!r}, but that is neither a class nor a function")
    return cast(Callable[..., Any], found)


def find_plugins(group: str) -> list[Plugin]:
    """Return the entry points of a group, sorted by package and name; nothing is imported.

    Args:
        group: "morl.agents" or "morl.envs".
    """
    found = []
    for point in entry_points(group=group):
        package = "an unknown package" if point.dist is None else point.dist.name
        found.append(Plugin(package, point.name, point.value, group))
    return sorted(set(found))


def warn_of_plugin(plugin: Plugin, reason: str) -> None:
    """Say once, in one sentence, that an entry point is left out.

    Args:
        plugin: the entry point.
        reason: why.
    """
    if plugin in _WARNED:
        return
    _WARNED.add(plugin)
    logging.getLogger("morl").warning(
        "the entry point %s = %s (%s) of the package %s is left out: %s",
        plugin.name,
        plugin.value,
        plugin.group,
        plugin.package,
        " ".join(reason.split()),
    )


def module_docstring(module: str, attribute: str = "") -> str:
    """Return the first line of a module's docstring; the module is read, neither it nor its package is imported.

    Args:
        module: its full name.
        attribute: a name that the module must have; empty: none.

    Raises:
        ImportError: there is no such module, or it has no such name.
        SyntaxError: it is no Python.
    """
    folders: list[str] | None = None
    origin: str | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        specs = (finder.find_spec(name, folders) for finder in sys.meta_path)
        spec = next((one for one in specs if one is not None), None)
        if spec is None:
            raise ModuleNotFoundError(f"there is no module {name!r}")
        origin = spec.origin
        folders = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    if origin is None or not origin.endswith(".py"):
        return ""
    tree = ast.parse(Path(origin).read_text(encoding="utf-8"))
    if attribute and not _may_have(tree, attribute.partition(".")[0]):
        raise ImportError(f"the module {module!r} has no {attribute!r}")
    docstring = ast.get_docstring(tree) or ""
    return docstring.partition("\n")[0]


def _may_have(tree: ast.Module, name: str) -> bool:
    """Return whether a module binds a name, as far as its source shows; one with `*` imports may bind any."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() if node.name in (name, "__getattr__"):
                return True
            case ast.Name(id=found, ctx=ast.Store()) if found == name:
                return True
            case ast.alias() if (node.asname or node.name) in (name, "*"):
                return True
    return False
