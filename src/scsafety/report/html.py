"""What every HTML page of a report shares: templates that escape, text that can only be read, a policy that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from scsafety.metrics.interval import Interval

TEMPLATES = resources.files("scsafety.report") / "templates"

# What would be unseen, or would reorder or hide what stands beside it: controls but newline and tab, soft hyphen, fillers,
# zero-width and bidi marks, line and paragraph separators, tags, variation selectors beyond emoji's, lone surrogates.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """Text in which nothing is unseen: `\\x1b` is `␛`, a bidi or zero-width mark `[U+202E]`; newline and tab stay.

    >>> visible("a\\x1b[1m\\u202eb")
    'a␛[1m[U+202E]b'
    """
    return UNSEEN.sub(_named, text)


def _named(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's control pictures
    return "␡" if code == 0x7F else f"[U+{code:04X}]"


@cache
def environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (TEMPLATES / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalised,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number, signed=_signed, interval=_interval, percent=_percent, share=_share, thousands=_thousands
    )
    return environment


def _finalised(value: object) -> object:
    """What every expression of the template passes on its way to the page."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def source(name: str) -> Markup:
    """The page's own style or script. Line ends are `\\n`, as the browser hashes them."""
    text = (TEMPLATES / name).read_text(encoding="utf-8").replace("\r\n", "\n")
    return Markup(text)  # noqa: S704 (our own file, no part of a record)


def content_policy(style: str, script: str | None = None) -> str:
    """A page's own policy: its one style and one script by their hashes, and nothing from outside."""
    scripts = f"script-src '{_hash(script)}'; " if script is not None else ""
    return f"default-src 'none'; style-src '{_hash(style)}'; {scripts}base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "—" if value is None else f"{value:+.2f}".replace("-", "−")  # a minus sign, as wide as the plus


def _interval(ci: Interval, *, signed: bool = False) -> str:
    if ci is None:
        return "样本过少"
    low, high = (f"{bound:+.1f}".replace("-", "−") if signed else f"{bound:.1f}" for bound in ci)
    return f"{low} ~ {high}"


def _percent(value: float | None) -> str:
    """A share that is short of one never reads 100.0%."""
    if value is None:
        return "—"
    return f"{math.floor(value * 1000 + 1e-9) / 10:.1f}%" if 0.999 <= value < 1 else f"{value:.1%}"


def _share(ci: Interval) -> str:
    return "样本过少" if ci is None else f"{ci[0]:.1%} ~ {ci[1]:.1%}"


def _thousands(value: int) -> str:
    return f"{value:,}"
