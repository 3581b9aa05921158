"""Every page of a site under axe-core: nothing serious, in light and dark, in both languages, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from scsafety import api
from tests.browser import NEEDS_CHROMIUM
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from scsafety.records import Score

axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
pytestmark = NEEDS_CHROMIUM
PAGES = ("index.html", "compare.html", "method.html", "reference.html", "a/index.html", "a/transcripts.html")
SCORES: tuple[Score, ...] = (2, 0, 1)
# light and dark, both languages, both widths, without every combination of them
LOOKS: tuple[tuple[Literal["light", "dark"], str, int], ...] = (
    ("light", "zh", 1280),
    ("light", "en", 390),
    ("dark", "zh", 390),
    ("dark", "en", 1280),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, shift in (("a", 0), ("b", 1)):
        held = [(pair("psychology", k), [Said(score=SCORES[(k + shift) % 3]), Said(score=2)]) for k in range(1, 13)]
        run = folder / name
        run.mkdir()
        with built_run(run / api.DB_NAME, [*held, (twin("psychology", 1), [Said(label="answered")])], model=name):
            pass
    return api.build_site("ab", folder / "site", folder, processes=1, ghosts=("GPT4",))[0].parents[1]


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_serious(browser: Browser, site: Path, page: str) -> None:
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text("utf-8")
    found = []
    for scheme, language, width in LOOKS:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened = context.new_page()
        opened.goto(f"{(site / page).as_uri()}?lang={language}")
        if page.endswith("transcripts.html"):
            opened.locator("details.dialogue > summary").first.click()
            opened.locator("details.dialogue .turn").first.wait_for()
        opened.evaluate(f"{script}\n;0")
        violations = opened.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
        )
        found += [
            (scheme, language, width, one["id"], one["nodes"][0]["html"][:120])
            for one in violations
            if one["impact"] in ("serious", "critical")
        ]
        context.close()

    assert found == []
