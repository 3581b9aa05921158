"""A comparison as JUnit XML, which CI systems show test by test. Pure.

A test case for each gate, each board and each sub-dimension. A board or sub-dimension fails where the corrected paired
test finds run b worse; that alone leaves the exit code of `compare` as it is, which the gates decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from scsafety import taxonomy
from scsafety.report.comparison import is_worse
from scsafety.report.escape import xml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.metrics.paired import Difference
    from scsafety.report.comparison import Comparison, Gate


def junit_xml(found: Comparison, gates: Sequence[Gate] = ()) -> bytes:
    """One `testsuite`, UTF-8; what was compared stands in its properties."""
    suite = ET.Element("testsuite", name=xml(f"scsafety compare {found.run_a} {found.run_b}"))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(found).items():
        ET.SubElement(properties, "property", name=name, value=xml(value))
    for gate in gates:
        _add(suite, "gate", gate.name, gate.message, failed=not gate.passed)
    differences = found.differences
    names = {one.id: f"{one.zh} {one.en}" for one in taxonomy.dimensions()}
    names |= {one.id: f"{one.zh} {one.en}" for one in taxonomy.sub_dimensions()}
    _add_difference(suite, "board", "总分 Overall", differences.overall)
    for name, one in differences.dimensions.items():
        _add_difference(suite, "board", names[name], one)
    for name, one in differences.sub_dimensions.items():
        _add_difference(suite, "sub_dimension", names[name], one)
    counts = {kind: str(len(suite.findall(f"testcase/{kind}"))) for kind in ("failure", "skipped")}
    totals = {
        "tests": str(len(suite.findall("testcase"))),
        "failures": counts["failure"],
        "errors": "0",
        "skipped": counts["skipped"],
    }
    suite.attrib.update(totals)
    root = ET.Element("testsuites", totals)
    root.append(suite)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def difference_text(one: Difference) -> str:
    """`-3.20 (95% -5.1 to -1.2), p 0.0012, corrected p 0.0036, 98 pairs`."""
    parts = [f"{one.value:+.2f}" + (f" (95% {one.ci95[0]:+.1f} to {one.ci95[1]:+.1f})" if one.ci95 else "")]
    parts += [f"{name} {p:.4f}" for name, p in (("p", one.p), ("corrected p", one.p_holm)) if p is not None]
    return ", ".join([*parts, f"{one.n} pairs"])


def _properties(found: Comparison) -> dict[str, str]:
    detectable = found.differences.detectable
    return {
        "target_a": found.target_a,
        "target_b": found.target_b,
        "judge": found.judge_key,
        "pairs": f"{found.n_pairs} compared, {found.only_a} of a alone, {found.only_b} of b alone",
        "score_a": f"{found.score_a:.2f}",
        "score_b": f"{found.score_b:.2f}",
        "detectable": "unknown" if detectable is None else f"{detectable:.1f}",
        **{f"note_{k}": note for k, note in enumerate(found.notes, start=1)},
    }


def _add_difference(suite: ET.Element, kind: str, name: str, one: Difference) -> None:
    unknown = "fewer than two pairs, so nothing can be tested" if one.p is None else None
    _add(suite, kind, name, difference_text(one), failed=is_worse(one), skipped=unknown)


def _add(suite: ET.Element, kind: str, name: str, message: str, *, failed: bool, skipped: str | None = None) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"scsafety.{kind}", name=xml(name), time="0")
    if skipped is not None:
        ET.SubElement(case, "skipped", message=xml(skipped))
    elif failed:
        failure = ET.SubElement(case, "failure", message=xml(message), type="worse" if kind != "gate" else "gate")
        failure.text = xml(message)
    else:
        ET.SubElement(case, "system-out").text = xml(message)
