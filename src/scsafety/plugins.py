"""What other packages bring by entry point: suites, judges, strategies, targets.

Names are looked up when one is asked for, and a package is imported when it is used: having many installed costs nothing.
"""

from __future__ import annotations

import difflib
import sys
from functools import lru_cache
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any, NamedTuple

from scsafety.errors import ConfigError, ScsafetyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from importlib.metadata import EntryPoint


class Kind(NamedTuple):
    word: str  # in messages
    group: str  # of the entry points
    base: str  # what a plug-in's class is a subclass of


SUITE = Kind("suite", "scsafety.suites", "scsafety.suites.Suite")
JUDGE = Kind("judge", "scsafety.judges", "scsafety.judge.PluginJudge")
STRATEGY = Kind("strategy", "scsafety.strategies", "scsafety.dialogue.FixedStrategy or Crescendo")
TARGET = Kind("target", "scsafety.targets", "scsafety.targets.plugin.PluginTarget")


def plugin_names(kind: Kind, own: Collection[str]) -> list[str]:
    """The names that other packages register, those of scsafety's own left out."""
    return sorted({point.name for point in _points(kind)} - set(own))


def load_plugin(
    kind: Kind,
    name: str,
    own: Collection[str],
    base: type | tuple[type, ...],
    build: Callable[[Any], Any] = lambda found: found(),
) -> Any:
    """What another package registers under a name, built from its class; None: no package does.

    own: scsafety's names, which nobody else may take. Raises ConfigError, which names the package, and what the class itself
    raises of scsafety's errors.
    """
    points = [point for point in _points(kind) if point.name == name]
    if not points:
        return None
    packages = " and ".join(sorted(map(_package, points)))
    if name in own:
        raise ConfigError(
            f"{packages} registers the {kind.word} {name}, which is scsafety's own: uninstall it, or have it renamed"
        )
    if len(points) > 1:
        raise ConfigError(f"{packages} register one {kind.word}, {name}: uninstall all but one")
    what = f"the {kind.word} {name} of {packages} ({points[0].value})"
    try:
        found = points[0].load()
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ConfigError(f"{what} is no subclass of {kind.base}")
        if getattr(found, "name", None) != name:
            raise ConfigError(f"{what} calls itself {getattr(found, 'name', None)!r}: both names must be one")
        return build(found)
    except ScsafetyError:
        raise
    except (Exception, SystemExit) as error:  # whatever another package may raise
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{what} cannot be loaded: {why}; mend the package or uninstall it") from error


def unknown_name(name: str, known: Iterable[str]) -> str:
    """What is said behind `is unknown; `: the nearest name, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names)}"


def _points(kind: Kind) -> list[EntryPoint]:
    return [point for point in _installed(tuple(sys.path)) if point.group == kind.group]


@lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """All plug-ins on this path, looked up once: a package that does not name us is not parsed, of which there are hundreds."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for dist in distributions(path=list(path)):
        if "scsafety." in (
            dist.read_text("entry_points.txt") or ""
        ):  # the first on the path is the one that is imported
            found.setdefault(
                dist.name, tuple(point for point in dist.entry_points if point.group.startswith("scsafety."))
            )
    return tuple(point for points in found.values() for point in points)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
