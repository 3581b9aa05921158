"""Other benchmarks on the same engine, by name. A suite of one's own: an entry point in the group `scsafety.suites`."""

from __future__ import annotations

from importlib import import_module

from scsafety.errors import ConfigError
from scsafety.plugins import SUITE, load_plugin, plugin_names, unknown_name
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
    return [*BUILT_IN, *plugin_names(SUITE, BUILT_IN)]


def suite_named(name: str) -> Suite:
    """Raises ConfigError for an unknown name, and where another package's suite cannot be loaded."""
    found: Suite | None = load_plugin(SUITE, name, BUILT_IN, Suite)
    if found is None and name in BUILT_IN:
        module, _, kind = BUILT_IN[name].partition(":")
        found = getattr(import_module(f"scsafety.suites.{module}"), kind)()
    if found is None:
        raise ConfigError(f"there is no suite {name!r}; {unknown_name(name, suite_names())}")
    return found
