"""The documentation as a site: it builds without a warning, in both languages, and asks nothing of the world outside."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("mkdocs", "material", "mkdocs_static_i18n", "mkdocstrings")
ONCE = [page.stem for page in (ROOT / "docs").glob("*.md") if "." not in page.stem]
HOME = "https://docs.example.org/scsafety/"

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED),
        reason="MkDocs is not installed: pip install 'scsafety[docs]'",
    ),
    pytest.mark.timeout(900),
]


class Page(HTMLParser):
    """What a page loads by itself, where its links lead, and what can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.language = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "html":
            self.language = given["lang"]
        elif tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "link" and given.get("rel") not in ("canonical", "alternate", "next", "prev"):
            self.loads.append(given["href"])
        self.loads += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "SITE_URL": HOME, "REPO_URL": "", "PYTHONPATH": str(ROOT / "src")}

    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=800, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_stands_under_both_languages_chinese_first(site: Path, pages: dict[Path, Page]) -> None:
    for name in ONCE:
        below = "" if name == "index" else name
        assert pages[site / below / "index.html"].language == "zh"
        assert pages[site / "en" / below / "index.html"].language == "en"

    assert "能跑的 SC-Safety" in (site / "index.html").read_text(encoding="utf-8")
    assert "It asks" not in (site / "index.html").read_text(encoding="utf-8")
    assert "The open, runnable SC-Safety" in (site / "en/index.html").read_text(encoding="utf-8")
    assert "后面可以写什么" in (site / "judges/index.html").read_text(encoding="utf-8")
    assert "What can stand behind" in (site / "en/judges/index.html").read_text(encoding="utf-8")


def test_every_page_is_written_in_both_languages() -> None:
    assert [name for name in ONCE if not (ROOT / "docs" / f"{name}.zh-CN.md").exists()] == []


def test_no_page_loads_anything_from_outside(site: Path, pages: dict[Path, Page]) -> None:
    outside = {
        (path.relative_to(site), url)
        for path, page in pages.items()
        for url in page.loads
        if urlsplit(url).netloc and not url.startswith(HOME)
    }
    in_styles = {
        (path.relative_to(site), url)
        for path in site.rglob("*.css")
        for url in re.findall(r"url\(\s*['\"]?((?:https?:)?//[^)]+)|@import", path.read_text(encoding="utf-8"))
    }

    assert outside | in_styles == set()
    assert sum(len(page.loads) for page in pages.values()) > 3 * len(pages)


def test_whatever_a_page_loads_is_there(site: Path, pages: dict[Path, Page]) -> None:
    missing = {
        (path.relative_to(site), url)
        for path, page in pages.items()
        for url in page.loads
        if path.name != "404.html" and not urlsplit(url).scheme and not (path.parent / urlsplit(url).path).exists()
    }

    assert missing == set()


def test_every_link_within_the_site_leads_to_a_page_and_a_place_on_it(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not link or path.name == "404.html":
                continue
            inside = unquote(parts.path)
            found = site / inside.removeprefix("/scsafety/") if inside.startswith("/") else path.parent / inside
            target = (path if not inside else found / "index.html" if found.is_dir() else found).resolve()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in pages[target].anchors):
                broken.append((str(path.relative_to(site)), link))

    assert broken == []


def test_no_page_still_shows_the_links_to_the_other_language_that_github_needs(pages: dict[Path, Page]) -> None:
    assert [path for path, page in pages.items() for link in page.links if "zh-CN" in link] == []


def test_a_chinese_paragraph_of_several_lines_has_no_space_where_a_line_ends(site: Path) -> None:
    text = (site / "for-compliance/index.html").read_text(encoding="utf-8")

    assert "达不到最低数：这些题请自备" in text
    assert text.count("<pre") == 5  # and blocks of code are as they were


def test_the_search_finds_what_is_in_the_readers_language(site: Path) -> None:
    both = [
        json.loads((folder / "search/search_index.json").read_text(encoding="utf-8")) for folder in (site, site / "en")
    ]
    chinese, english = (
        {entry["location"]: entry["title"] + entry["text"] for entry in index["docs"]} for index in both
    )

    assert "失守率" in chinese["concepts/#怎么算"]
    assert "Cave rate" in english["concepts/#what-is-counted"]
    assert "judges/" in chinese.keys() & english.keys()
    assert [place for place in (*chinese, *english) if place.startswith("en/")] == []
    split = re.compile(both[0]["config"]["separator"])
    assert [part for part in split.split("cave 失守率，0.5") if part] == ["cave", "失", "守", "率", "0", "5"]


@pytest.mark.parametrize("page", ["", "concepts/", "en/", "en/concepts/"])
def test_a_page_looks_for_the_index_of_its_own_language(site: Path, page: str) -> None:
    text = (site / page / "index.html").read_text(encoding="utf-8")
    (config,) = re.findall(r'<script id="__config" type="application/json">(.*?)</script>', text)

    found = (site / page / json.loads(config)["base"]).resolve()

    assert found == (site / "en" if page.startswith("en/") else site).resolve()
