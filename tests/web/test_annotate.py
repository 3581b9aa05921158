"""Labelling in a real browser: two people, a reload, a lost connection; every label arrives and none is shown a judge."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from scsafety import api
from scsafety.metrics.agreement import count, figures
from scsafety.store import Store
from tests.browser import NEEDS_CHROMIUM
from tests.program import PROGRAM, environment, scsafety
from tests.report.build import Said, built_run, pair

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = NEEDS_CHROMIUM
HOSTILE = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"
N = 30


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A stored run of 30 pairs over three sub-dimensions."""
    folder = tmp_path / "runs" / "r"
    subs = ("property_privacy", "environment", "goal_hijacking")
    held = [
        (pair(subs[k % 3], k + 1), [Said(f"{HOSTILE} 第 {k} 对第一答", score=2), Said(f"第 {k} 对第二答", score=0)])
        for k in range(N)
    ]
    with built_run(folder / "run.db", held):
        pass
    return folder


def until(page: Page, condition: str, argument: object = None, *, within_s: float = 15.0) -> None:
    """Waits for a condition (a JavaScript function); the page's own rules let no string be run in it."""
    deadline = time.monotonic() + within_s
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(15)


class Session:
    """`scsafety annotate`, as another process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [*PROGRAM, "annotate", str(folder), *arguments]
        self.process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        self.links: dict[str, str] = {}

    def __enter__(self) -> Session:
        assert self.process.stdout is not None
        wanted = sum(argument == "--annotator" for argument in self.process.args)  # type: ignore[union-attr]
        while len(self.links) < wanted:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            name, _, link = line.strip().partition(": ")
            self.links[name] = link
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.output = self.process.communicate(timeout=30)


class Annotator:
    """A person at the keyboard."""

    def __init__(self, browser: Browser, link: str) -> None:
        self.context = browser.new_context()
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(link)
        self.given: dict[tuple[str, int], int] = {}

    def place(self) -> tuple[str, int]:
        """The pair and answer (0 or 1) that wait for a label."""
        until(self.page, "() => !document.getElementById('task').hidden")
        now = self.page.locator(".answer").evaluate_all("boxes => boxes.findIndex(b => b.classList.contains('now'))")
        return self.page.locator("#pair").inner_text(), int(now)

    def label(self, value: int) -> None:
        place = self.place()
        self.page.keyboard.press(str(value))
        self.given[place] = value
        until(
            self.page,
            "([pair, now]) => document.getElementById('task').hidden || document.getElementById('pair').textContent !== pair"
            " || [...document.querySelectorAll('.answer')].findIndex(b => b.classList.contains('now')) !== now",
            list(place),
        )

    def saved(self) -> None:
        until(self.page, "() => document.getElementById('sync').textContent === '已全部保存'")

    def counts(self) -> str:
        return self.page.locator("#counts").inner_text()


def stored(folder: Path, name: str) -> dict[tuple[str, int], int | None]:
    with Store.open(folder / "run.db") as store:
        rows = store.query("SELECT judge_id, pair_id, round, score FROM verdict_of_turn ORDER BY pair_id, round")
    return {(pair_id, round_ - 1): score for judge_id, pair_id, round_, score in rows if judge_id == f"human/{name}"}


def test_two_people_label_30_pairs_by_keyboard_and_nothing_is_lost(browser: Browser, run: Path) -> None:
    arguments = ("--annotator", "li", "--annotator", "wang", "--sample", str(N), "--second", "1")
    with Session(run, *arguments) as session:
        li, wang = Annotator(browser, session.links["li"]), Annotator(browser, session.links["wang"])
        for k in range(2 * N):
            li.label(k % 3)
            if k == 20:
                li.page.reload()  # in the middle of the work
        for k in range(2 * N):
            if k == 11:
                wang.context.set_offline(True)
            wang.label(k % 3 if k % 5 else (k + 1) % 3)
            if k == 17:
                assert "待保存" in wang.page.locator("#sync").inner_text()
                wang.context.set_offline(False)
        li.saved()
        wang.saved()
        shown = wang.counts()

    assert session.process.returncode == 0, session.output
    assert len(li.given) == len(wang.given) == 2 * N
    assert stored(run, "li") == li.given
    assert stored(run, "wang") == wang.given
    table = count([li.given[place] for place in sorted(li.given)], [wang.given[place] for place in sorted(li.given)])
    by_hand = figures(table)
    assert f"60 个回答有两人标注：kappa {float(by_hand['qwk']):.2f}，alpha {float(by_hand['alpha']):.2f}" in shown
    assert li.complaints == wang.complaints == []
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["people"]["annotators"] == {"li": 60, "wang": 60}
    assert summary["people"]["corrected"]["n_labelled"] == N
    assert summary["people"]["agreement"]["qwk"] == pytest.approx(float(by_hand["qwk"]))


def test_hostile_answers_stay_text_and_no_judge_is_shown(browser: Browser, run: Path) -> None:
    with Session(run, "--annotator", "li") as session:
        li = Annotator(browser, session.links["li"])
        li.place()
        text = li.page.locator("body").inner_text()
        pwned = li.page.evaluate("window.pwned")
        sent = li.page.evaluate(
            "fetch('api/batch', {headers: {Authorization: 'Bearer ' + sessionStorage.getItem('scsafety-token')}})"
            ".then(r => r.json())"
        )

    assert pwned is None
    assert HOSTILE in text
    assert "#" not in li.page.url  # the token does not stay in the address bar
    fields = {key for task in sent["tasks"] for answer in task["answers"] for key in answer}
    assert fields == {"seq", "round", "question", "answer", "blocked", "mine"}
    assert "confidence" not in json.dumps(sent)


def test_a_label_can_be_taken_back_changed_skipped_and_noted(browser: Browser, run: Path) -> None:
    with Session(run, "--annotator", "li", "--sample", "3") as session:
        li = Annotator(browser, session.links["li"])
        first = li.place()
        li.page.keyboard.press("s")
        until(li.page, "pair => document.getElementById('pair').textContent !== pair", first[0])
        second = li.place()
        li.page.keyboard.press("n")
        li.page.keyboard.type("两可 012")
        li.page.keyboard.press("Enter")
        li.label(2)
        li.page.keyboard.press("u")
        until(li.page, "() => document.querySelector('.answer').classList.contains('now')")
        assert li.place() == second
        li.label(0)
        for _ in range(5):
            li.label(1)
        until(li.page, "() => !document.getElementById('finished').hidden")
        li.saved()

    assert stored(run, "li") == li.given
    assert stored(run, "li")[second] == 0
    assert first in li.given  # what was skipped came back at the end
    with Store.open(run / "run.db") as store:
        rows = store.query(
            "SELECT item_id, v.repeat, v.score, v.reason, v.error FROM verdict v JOIN exchange USING (exchange_id) "
            "JOIN dialogue USING (dialogue_id) WHERE seq = 1 AND v.judge_key LIKE 'human/%' ORDER BY v.repeat"
        )
    history = [tuple(row) for item_id, *row in rows if item_id == second[0]]
    assert history == [(1, 2, "两可 012", None), (2, None, "", "taken back"), (3, 0, "", None)]


def test_a_session_goes_on_where_the_last_one_ended(browser: Browser, run: Path) -> None:
    seen = []
    for _ in range(2):
        with Session(run, "--annotator", "li", "--sample", "4") as session:
            li = Annotator(browser, session.links["li"])
            for _ in range(4):
                seen.append(li.place())
                li.label(1)
            li.saved()

    assert len(set(seen)) == 8
    assert len(stored(run, "li")) == 8


def test_work_is_shared_out_and_only_the_second_share_is_done_twice(browser: Browser, run: Path) -> None:
    arguments = ("--annotator", "li", "--annotator", "wang", "--sample", "10", "--second", "0.3")
    with Session(run, *arguments) as session:
        people = [Annotator(browser, link) for link in session.links.values()]
        for person in people:
            person.place()
        busy = list(people)
        while busy:
            for person in list(busy):
                if person.page.locator("#task").is_hidden():
                    busy.remove(person)
                    continue
                person.label(1)
        for person in people:
            person.saved()

    pairs = [{place[0] for place in person.given} for person in people]
    assert len(pairs[0] | pairs[1]) == 10
    assert len(pairs[0] & pairs[1]) == 3


def test_a_wrong_token_is_refused_and_says_what_to_do(browser: Browser, run: Path) -> None:
    with Session(run, "--annotator", "li") as session:
        address, _, token = session.links["li"].partition("#")
        for given in ("", "Bearer wrong", f"Bearer {token}x", "Bearer "):
            for path, data in (("api/batch", None), ("api/labels", b'{"labels": []}'), ("api/task/x", None)):
                request = urllib.request.Request(address + path, data=data, headers={"Authorization": given})  # noqa: S310
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(request, timeout=5)  # noqa: S310
                assert refused.value.code == 401
                assert "default-src 'none'" in refused.value.headers["Content-Security-Policy"]
        nobody = Annotator(browser, address + "#wrong")
        until(nobody.page, "() => !document.getElementById('problem').hidden")
        said = nobody.page.locator("#problem").inner_text()

    assert "open the link that `scsafety annotate` printed for you" in said
    assert token not in "".join(session.output)  # the rest of what it prints
    summary = (run / "summary.json").read_bytes()
    assert token.encode() not in summary
    assert token.encode() not in (run / "run.db").read_bytes()


def test_the_page_fits_a_phone(browser: Browser, run: Path) -> None:
    with Session(run, "--annotator", "li") as session:
        phone = browser.new_context(viewport={"width": 360, "height": 720}, has_touch=True, is_mobile=True)
        page = phone.new_page()
        page.goto(session.links["li"])
        until(page, "() => !document.getElementById('task').hidden")
        widths: dict[str, Any] = page.evaluate(
            "({all: document.documentElement.scrollWidth, screen: innerWidth, "
            "least: Math.min(...[...document.querySelectorAll('nav button')].map(b => b.getBoundingClientRect().height))})"
        )
        page.get_by_role("button", name="2").tap()
        until(page, "() => document.getElementById('sync').textContent === '已全部保存'")

    assert widths["all"] <= widths["screen"]
    assert widths["least"] >= 44
    assert list(stored(run, "li").values()) == [2]


def test_a_run_that_is_being_written_cannot_be_labelled(run: Path) -> None:
    with Store.open(run / "run.db", write=True):
        done = scsafety("annotate", run, cwd=run)

    assert done.returncode == 4
    assert "another scsafety process is writing this run" in done.stderr


def test_labels_are_verdicts_that_a_reader_finds_beside_the_judges(browser: Browser, run: Path) -> None:
    with Session(run, "--annotator", "li", "--sample", "2") as session:
        li = Annotator(browser, session.links["li"])
        for _ in range(4):
            li.label(1)
        li.saved()

    loaded = api.load_run(run)
    assert loaded.summary.people is not None
    assert loaded.summary.people.judge["n"] == 4
    assert loaded.summary.people.corrected is None  # two pairs say nothing about a score
    with loaded.open() as store:
        assert store.query("SELECT count(*) FROM verdict_of_turn WHERE primary_judge AND judge_id LIKE 'human/%'") == [
            (0,)
        ]
