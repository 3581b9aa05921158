"""What the site needs of the pages in docs/, which are written to be read on GitHub first.

There `X.md` is English and `X.zh-CN.md` Chinese, each with a link to the other, and some links leave the folder. On the site
Chinese is the default language, a switch in its head leads from one to the other, and a page that exists once stands under both.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mkdocs_static_i18n import suffix

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File

CHINESE, ENGLISH = "zh-CN", "en"
OTHER_LANGUAGE = re.compile(r"(?:English \| )?\[(?:中文|English)\]\([\w-]+(?:\.zh-CN)?\.md\)(?: \| 中文)?(?: · )?")
OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./|bank/)[^)]*)\)")

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
    """Without the links to the other language; what lies outside docs/ is a link into the repository, or plain text."""
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

    return OUTSIDE.sub(link, markdown)
