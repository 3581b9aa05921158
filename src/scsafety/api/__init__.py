"""The Python API: the commands of `scsafety` as functions.

>>> import scsafety                                                   # doctest: +SKIP
>>> result = scsafety.run("local/qwen2.5-coder-0.5b", quick=True)     # doctest: +SKIP
>>> result.summary.overall.score                                      # doctest: +SKIP
"""

from __future__ import annotations

from scsafety.api.estimating import Estimate, estimate
from scsafety.api.finishing import RunResult, finish
from scsafety.api.folders import DB_NAME, DEFAULT_OUT, SUMMARY, find_run, load_settings, new_folder, settings_of
from scsafety.api.judges import check_judge_against, train_judge
from scsafety.api.planning import Plan, plan, plan_suite
from scsafety.api.reading import (
    Run,
    build_site,
    compare,
    compare_suites,
    load_run,
    score,
    verify,
    write_model,
    write_standard_evidence,
)
from scsafety.api.running import carry_out, checkup, judge_run, rehearse, resume, run
from scsafety.engine.diagnosis import Finding
from scsafety.engine.settings import Policy
from scsafety.engine.sitting import Terminated, Watch
from scsafety.engine.trial import try_item

__all__ = [
    "DB_NAME",
    "DEFAULT_OUT",
    "SUMMARY",
    "Estimate",
    "Finding",
    "Plan",
    "Policy",
    "Run",
    "RunResult",
    "Terminated",
    "Watch",
    "build_site",
    "carry_out",
    "check_judge_against",
    "checkup",
    "compare",
    "compare_suites",
    "estimate",
    "find_run",
    "finish",
    "judge_run",
    "load_run",
    "load_settings",
    "new_folder",
    "plan",
    "plan_suite",
    "rehearse",
    "resume",
    "run",
    "score",
    "settings_of",
    "train_judge",
    "try_item",
    "verify",
    "write_model",
    "write_standard_evidence",
]
