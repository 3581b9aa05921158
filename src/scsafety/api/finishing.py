"""What stands at the end of a run: its summary, its report, and whether both are still of what the store holds."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.api.folders import SUMMARY, checks_dir, settings_of
from scsafety.engine.opening import used_address
from scsafety.engine.sitting import judge_url_of
from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.judge.measured import card_name, known_cards
from scsafety.report.summary import Summary, summarise
from scsafety.targets.prices import Spent, cost_of, load_prices

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.engine.settings import RunSettings
    from scsafety.report.suite import SuiteOf
    from scsafety.report.summary import OverRefusal
    from scsafety.store import Store


class Rejudged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of another judge's look at stored answers."""

    judge: str  # its id
    unjudged: int  # answers, those to harmless twins too, that it gave no verdict on


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    summary: Summary
    report: Path
    rejudged: Rejudged | None = None  # after `judge_run`

    @property
    def unanswered(self) -> int:
        """Turns, those of harmless twins too."""
        return self.summary.unanswered + (self._beside.unanswered if self._beside else 0)

    @property
    def unjudged(self) -> int:
        """Answers, those to harmless twins too, without a verdict: of the judge that was just asked, else of the summary's."""
        if self.rejudged is not None:
            return self.rejudged.unjudged
        return self.summary.unjudged + (self._beside.unjudged if self._beside else 0)

    @property
    def _beside(self) -> SuiteOf | OverRefusal | None:
        return self.summary.suite or self.summary.over_refusal

    @property
    def exit_code(self) -> int:
        """0 when every turn is answered and judged, else 1: the same judge asked again, or `resume`, finishes them."""
        return 1 if self.unanswered or self.unjudged else 0


def finish(store: Store, folder: Path) -> RunResult:
    """Write `summary.json` and `report/index.html` from what the store holds; where both are of just this, they stay."""
    from scsafety.report.page import PAGE, write_report

    path, page = folder / SUMMARY, folder / "report" / PAGE
    if page.is_file() and (kept := kept_summary(store, folder)) is not None:
        return RunResult(folder=folder, summary=kept, report=page)
    summary = summary_of(store, settings_of(store), folder)
    written = msgspec.json.format(msgspec.json.encode(summary), indent=2)
    write_whole(path, written)
    write_report(store, summary, page.parent)
    store.set_meta("reported", _mark(store, written))
    return RunResult(folder=folder, summary=summary, report=page)


def kept_summary(store: Store, folder: Path) -> Summary | None:
    """`summary.json`, where it is of just what the store holds."""
    try:
        written = (folder / SUMMARY).read_bytes()
        if store.meta("reported") != _mark(store, written):
            return None
        return msgspec.structs.replace(msgspec.json.decode(written, type=Summary), run=folder.name)
    except (OSError, msgspec.MsgspecError):
        return None


def _mark(store: Store, written: bytes) -> str:
    """Of a summary as it was written and all that it rests on, the shape of a summary included."""
    rests_on = (version("scsafety"), Summary.__struct_fields__, store.state(), known_cards(checks_dir()), load_prices())
    return hashlib.sha256(msgspec.json.encode(rests_on, order="sorted") + written).hexdigest()


def summary_of(store: Store, settings: RunSettings, folder: Path) -> Summary:
    return summarise(store, settings, run=folder.name, measured=_measured(store, settings), cost=_cost(store))


def _measured(store: Store, settings: RunSettings) -> dict[str, dict[str, Any]]:
    """What is known of the run's primary judge, by its key: measured where the run asked it."""
    judge = store.primary_judge()
    if judge is None:
        return {}
    if (url := judge_url_of(store, settings, judge)) is not None:
        with suppress(ConfigError):  # a guard's file or a plug-in that is not here
            url = used_address(judge.judge_id, url)
    card = known_cards(checks_dir()).get(card_name(judge.key, url))
    return {judge.key: card} if card is not None else {}


def _cost(store: Store) -> dict[str, Any] | None:
    """By today's price table; None where no price of the run is known."""
    spent = [
        (role, Spent(endpoint, calls, prompt, completion))
        for role, endpoint, calls, prompt, completion in store.spent()
    ]
    prices = load_prices()
    total = cost_of([used for _, used in spent], prices)
    if not spent or len(total.unknown) == len({used.endpoint for _, used in spent}):
        return None
    roles = {role: cost_of([used for r, used in spent if r == role], prices).amount for role, _ in spent}
    return {"amount": total.amount, "currency": total.currency, "by_role": roles, "unknown": list(total.unknown)}
