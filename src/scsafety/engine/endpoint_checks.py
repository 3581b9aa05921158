"""Is a target or a judge ready for a run? First what can be known without asking, then a few harmless questions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scsafety.engine.checkup import free_memory, looked_at, memory_finding
from scsafety.engine.diagnosis import Finding, trial_findings
from scsafety.engine.opening import check_target, judge_endpoints
from scsafety.engine.trial import hold_trial, try_judge
from scsafety.errors import GateError, ScsafetyError
from scsafety.targets.embedded import parse_local
from scsafety.targets.keys import DotenvKeys, exposed
from scsafety.targets.providers import host_is_vendors_own
from scsafety.targets.reach import certificates, reach, route_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.targets.providers import Endpoint


def target_findings(model: str, base_url: str | None) -> Iterator[Finding]:
    """A target: what can be checked without asking, and if that is well a few harmless questions."""
    fine = True
    for finding in way_findings("target", model, base_url):
        fine = fine and finding.level != "FAIL"
        yield finding
    if not fine:
        return
    endpoint = check_target(model, base_url)
    try:
        trial = hold_trial(model, base_url=base_url)
    except ScsafetyError as error:
        yield Finding("FAIL", "target", str(error))
        return
    yield from trial_findings("target", trial, endpoint.provider if endpoint else None)


def judge_findings(judge: str, base_url: str | None) -> Iterator[Finding]:
    """A judge: the way to each of its endpoints, and if that is well one judgement."""
    try:
        endpoints = judge_endpoints(judge, base_url)
    except ScsafetyError as error:
        yield Finding("FAIL", "judge", str(error))
        return
    fine = True
    for model, address in endpoints.items():
        for finding in way_findings("judge", model, address):
            fine = fine and finding.level != "FAIL"
            yield finding
    if fine:
        yield looked_at("judge verdict", lambda: _verdict(judge, base_url))


def _verdict(judge: str, base_url: str | None) -> str:
    verdict = try_judge(judge, base_url=base_url)
    if not verdict.judged:
        raise GateError(
            f"one harmless answer was given to {judge} and is unjudged: {verdict.error}; choose another judge"
        )
    return f"one harmless answer was judged: {verdict.score if verdict.score is not None else verdict.label}"


def way_findings(role: str, model: str, base_url: str | None) -> Iterator[Finding]:
    """What can be known of a target without asking it: key, account, route, address; memory for an embedded one."""
    try:
        endpoint = check_target(model, base_url)
        local = parse_local(model)
    except ScsafetyError as error:
        yield Finding("FAIL", role, str(error))
        return
    if endpoint is None:
        size = local.stat().st_size if isinstance(local, Path) else local.bytes if local else 0
        yield memory_finding(f"{role} memory", size, free_memory())
        return
    if endpoint.plugin is not None:
        yield Finding("ok", f"{role} plug-in", f"{endpoint.label}, version {endpoint.plugin.version}")
        if not endpoint.base_url:
            return
    yield Finding("ok", f"{role} key", endpoint.key_source or "none is set, none is sent")
    if endpoint.key_source and endpoint.key_source.endswith(DotenvKeys.name):
        line = exposed(endpoint.provider.key_vars)
        yield from [Finding("note", f"{role} key", line)] if line else []
    yield from _risks(role, endpoint)
    route = route_to(endpoint.base_url)
    secure = endpoint.base_url.startswith("https:")
    yield looked_at(
        f"{role} route", lambda: route.words + (f"; certificates: {certificates(os.environ)}" if secure else "")
    )
    yield looked_at(f"{role} address", lambda: "; ".join(reach(endpoint.base_url, route.proxy)))


def _risks(role: str, endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.provider.local:
        return
    if role == "target":
        yield Finding(
            "note",
            f"{role} account",
            f"{endpoint.label}: red-team questions can cost an account; ask the vendor, or use an account of its own",
        )
    if endpoint.provider.base_url and not host_is_vendors_own(endpoint):
        yield Finding(
            "note",
            f"{role} host",
            f"{endpoint.base_url} is not the vendor's own host; a gateway may answer in its place",
        )
