"""A judge of another package: an entry point in the group `scsafety.judges` names a subclass of `PluginJudge`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from scsafety.errors import ConfigError, ScsafetyError
from scsafety.judge.spec import NAMES, OFFLINE_JUDGES
from scsafety.plugins import JUDGE, load_plugin, plugin_names, unknown_name
from scsafety.records import BENIGN_LABELS, JudgeCard, Twin, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.records import Call, Case

SCORES = (0, 1, 2)


class PluginJudge(ABC):
    """A subclass says `verdict`. Its card, and with it its key, is made of name, version and parameters.

    Opened before the first answer and closed after the last one (`async with`).
    """

    name: ClassVar[str]  # as `--judge` takes it; the entry point's
    version: ClassVar[int] = 1  # raised when the same answer would be judged differently
    makes_calls: bool = False  # whether a verdict may cost a request

    def parameters(self) -> dict[str, str | int | float | None]:
        """What a verdict depends on beside the answer: thresholds, the name of a model, the hash of a file."""
        return {}

    @abstractmethod
    async def verdict(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        """On `case.answer`: a score for a pair, a label for a harmless twin. See `Judge.judge`."""

    @property
    def card(self) -> JudgeCard:
        return JudgeCard(
            judge_id=self.name, model=f"plugin {self.name}", parameters={"version": self.version, **self.parameters()}
        )

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        """The verdict; what the plug-in raises, or gives and no report could count, leaves the answer unjudged."""
        try:
            found = await self.verdict(case, on_call=on_call)
        except ScsafetyError:
            raise
        except Exception as error:  # noqa: BLE001 (another package's code; one answer is no reason to lose the run)
            return Verdict(error=f"the judge {self.name} raised {type(error).__name__}: {error}")
        fault = verdict_fault(case, found)
        return found if fault is None else Verdict(error=f"the judge {self.name} gave {fault}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def verdict_fault(case: Case, verdict: object) -> str | None:
    """What is wrong with a verdict on a pair, a twin or an answer without an item; None where it can be counted."""
    if not isinstance(verdict, Verdict):
        return f"{type(verdict).__name__} instead of a Verdict"
    if verdict.error is not None:
        return "a verdict with an error" if verdict.judged else None
    score: object = verdict.score  # records do not check what they are made of
    if isinstance(case.item, Twin):
        if score is not None or verdict.label not in BENIGN_LABELS:
            return f"score {score!r}, label {verdict.label!r} to a harmless twin: a label of {', '.join(BENIGN_LABELS)}"
    elif verdict.label is not None or type(score) is not int or score not in SCORES:
        return f"score {score!r}, label {verdict.label!r}: a score of 0, 1 or 2 and no label"
    if verdict.confidence is not None and not 0 <= verdict.confidence <= 1:
        return f"a confidence of {verdict.confidence!r}: 0 to 1"
    return None


def refuse_shadow(name: str) -> None:
    """Raises ConfigError where a package registers the name of one of our own judges."""
    load_plugin(JUDGE, name, NAMES, PluginJudge)


def judge_plugin(name: str) -> PluginJudge:
    """Raises ConfigError for an unknown name and for a plug-in that cannot be used."""
    found: PluginJudge | None = load_plugin(JUDGE, name, NAMES, PluginJudge)
    if found is None:
        known = (*OFFLINE_JUDGES, *plugin_names(JUDGE, NAMES))
        near = unknown_name(name, known)
        guess = f"; {near}" if near.startswith("did") else ""
        raise ConfigError(
            f"--judge {name!r} is unknown; give {', '.join(known)}, provider/model, guard:NAME, panel:A,B,C, cascade:A,B or "
            f"chain:A,B{guess}"
        )
    return found
