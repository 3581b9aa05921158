"""What every HTML page of a report shares: templates that escape, text that can only be read, a policy that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from scsafety.report import lazy
from scsafety.report.lines import counted, latin
from scsafety.report.visible import visible

if TYPE_CHECKING:
    from scsafety.metrics.interval import Interval

TEMPLATES = resources.files("scsafety.report") / "templates"
TOO_FEW = Markup('<span class="zh" lang="zh-CN">样本过少</span><span class="en" lang="en">too few</span>')


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
        number=_number,
        signed=_signed,
        interval=_interval,
        percent=_percent,
        share=_share,
        thousands=_thousands,
        counted=counted,
        latin=latin,
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


def content_policy(style: str, script: str | None = None, *, loads: bool = False) -> str:
    """A page's own policy: its one style and one script by their hashes, and nothing from outside.

    `loads`: and scripts from where the page itself lies, for the data of `lazy`.
    """
    also = f" {lazy.SOURCE}" if loads else ""
    scripts = f"script-src '{_hash(script)}'{also}; " if script is not None else ""
    return f"default-src 'none'; style-src '{_hash(style)}'; {scripts}base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "—" if value is None else f"{value:+.2f}".replace("-", "−")  # a minus sign, as wide as the plus


def _interval(ci: Interval, *, signed: bool = False) -> str:
    """For the text of an element only: where there is no interval it says so in both languages."""
    if ci is None:
        return TOO_FEW
    low, high = (f"{bound:+.1f}".replace("-", "−") if signed else f"{bound:.1f}" for bound in ci)
    return f"{low} ~ {high}"


def _percent(value: float | None) -> str:
    """A share that is short of one never reads 100.0%."""
    if value is None:
        return "—"
    return f"{math.floor(value * 1000 + 1e-9) / 10:.1f}%" if 0.999 <= value < 1 else f"{value:.1%}"


def _share(ci: Interval) -> str:
    return TOO_FEW if ci is None else f"{ci[0]:.1%} ~ {ci[1]:.1%}"


def _thousands(value: int) -> str:
    return f"{value:,}"
