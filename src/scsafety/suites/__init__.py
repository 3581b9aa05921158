"""Other benchmarks on the same engine, by name. A suite of one's own: an entry point in the group `scsafety.suites`."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points

from scsafety.errors import ConfigError
from scsafety.suites.base import (
    UNREADABLE,
    UNUSED,
    About,
    Answer,
    Attacked,
    Home,
    Metric,
    Suite,
    SuiteScore,
    by_group,
    judged,
    share,
)
from scsafety.suites.files import SuiteDataError

__all__ = [
    "UNREADABLE", "UNUSED", "About", "Answer", "Attacked", "Home", "Metric", "Suite", "SuiteDataError", "SuiteScore", "by_group",
    "judged", "share", "suite_named", "suite_names",
]  # fmt: skip

GROUP = "scsafety.suites"
# name of the suite -> module of this package with its class; loaded when it is asked for
BUILT_IN = {
    "aratrust": "aratrust:AraTrust",
    "chinese-safetyqa": "chinese_safetyqa:ChineseSafetyQA",
    "chinesesafe": "chinesesafe:ChineseSafe",
    "fake-alignment": "fake_alignment:FakeAlignment",
    "chisafetybench": "chisafetybench:CHiSafetyBench",
    "or-bench": "or_bench:ORBench",
    "safety-prompts": "safety_prompts:SafetyPrompts",
    "mm-safetybench": "mm_safetybench:MMSafetyBench",
    "r-judge": "r_judge:RJudge",
    "ali-agent": "ali_agent:ALIAgent",
}


def suite_names() -> list[str]:
    """Built-in ones first, then those of other packages."""
    return [*BUILT_IN, *(point.name for point in entry_points(group=GROUP) if point.name not in BUILT_IN)]


def suite_named(name: str) -> Suite:
    """Raises ConfigError for an unknown name, and where another package's suite cannot be loaded."""
    if name in BUILT_IN:
        module, _, kind = BUILT_IN[name].partition(":")
        found: Suite = getattr(import_module(f"scsafety.suites.{module}"), kind)()
        return found
    for point in entry_points(group=GROUP):
        if point.name == name:
            try:
                loaded = point.load()()
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                raise ConfigError(f"the suite {name} ({point.value}) cannot be loaded: {why}") from error
            if not isinstance(loaded, Suite):
                raise ConfigError(f"the suite {name} ({point.value}) is no subclass of scsafety.suites.Suite")
            return loaded
    known = suite_names()
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(
        f"there is no suite {name!r}; {f'did you mean {near[0]!r}?' if near else 'there is ' + ', '.join(known)}"
    )
