"""What the site needs of the pages in docs/, which are written to be read on GitHub first.

There `X.md` is English and `X.zh-CN.md` Chinese, each with a link to the other, and some links leave the folder. On the site
Chinese is the default language, a switch in its head leads from one to the other, a page that exists once stands under both, and
the search finds what is in the reader's language.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mkdocs.plugins import event_priority
from mkdocs_static_i18n import suffix

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File
    from mkdocs.structure.pages import Page

CHINESE, ENGLISH = "zh-CN", "en"
OTHER_LANGUAGE = re.compile(r"(?:English \| )?\[(?:中文|English)\]\([\w-]+(?:\.zh-CN)?\.md\)(?: \| 中文)?(?: · )?")
OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./|bank/)[^)]*)\)")

FENCED = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
HAN = r"\u3001-\u303f\u3400-\u9fff\uff00-\uffef“”"
BROKEN_LINE = re.compile(rf"(?<=[{HAN}])\n *(?=[{HAN}])")  # which a browser would show as a space
BASE = re.compile(r'(<script id="__config"[^>]*>\{.*?"base":\s*")([./]+)"')
INDEX = Path("search") / "search_index.json"

create_i18n_file = suffix.create_i18n_file


def with_language(file: File, *rest: Any) -> File:
    """The plugin takes a page without a suffix for one in the default language.

    Ours is English where a Chinese one stands beside it.
    """
    made: Any = create_i18n_file(file, *rest)
    source = Path(file.abs_src_path or "")
    if source.suffix == ".md" and made.localization is None and source.with_suffix(f".{CHINESE}.md").exists():
        made.locale = ENGLISH
    return made


def on_startup(**_: Any) -> None:
    suffix.create_i18n_file = with_language


def on_page_markdown(markdown: str, *, config: MkDocsConfig, **_: Any) -> str:
    """Without the links to the other language; what lies outside docs/ is a link into the repository, or plain text.

    Chinese lines are joined without a space.
    """
    head, end, rest = markdown.partition("\n## ")
    markdown = OTHER_LANGUAGE.sub("", head) + end + rest

    def link(found: re.Match[str]) -> str:
        text, path = found.groups()
        if not config.repo_url:
            return text
        parts: list[str] = []
        for part in PurePosixPath("docs", path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{'/'.join(parts)})"

    prose_and_code = FENCED.split(OUTSIDE.sub(link, markdown))
    return "".join(part if part.startswith("```") else BROKEN_LINE.sub("", part) for part in prose_and_code)


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """An English page looks for the index of the search below en/."""
    if not page.url.startswith(f"{ENGLISH}/"):
        return output
    return BASE.sub(lambda found: f'{found[1]}{found[2].removesuffix("..").rstrip("/") or "."}"', output, count=1)


@event_priority(-200)  # behind the plugin, which puts both languages into one index
def on_post_build(*, config: MkDocsConfig, **_: Any) -> None:
    site = Path(config.site_dir)
    index = json.loads((site / INDEX).read_text(encoding="utf-8"))
    below = f"{ENGLISH}/"
    for folder, docs in (
        (site / ENGLISH, [one for one in index["docs"] if one["location"].startswith(below)]),
        (site, [one for one in index["docs"] if not one["location"].startswith(below)]),
    ):
        path = folder / INDEX
        path.parent.mkdir(parents=True, exist_ok=True)
        of_folder = [{**one, "location": one["location"].removeprefix(below)} for one in docs]
        path.write_text(json.dumps({**index, "docs": of_folder}, ensure_ascii=False), encoding="utf-8")
