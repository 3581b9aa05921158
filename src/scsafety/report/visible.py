"""Text that a model, a vendor or a person wrote, as it may be shown: nothing of it unseen."""

from __future__ import annotations

import re

# What would be unseen, or would reorder or hide what stands beside it: controls but newline and tab, soft hyphen, fillers,
# zero-width and bidi marks, line and paragraph separators, tags, variation selectors beyond emoji's, lone surrogates.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tab and line ends


def visible(text: str) -> str:
    """Text in which nothing is unseen: `\\x1b` is `␛`, a bidi or zero-width mark `[U+202E]`; newline and tab stay.

    >>> visible("a\\x1b[1m\\u202eb")
    'a␛[1m[U+202E]b'
    """
    return UNSEEN.sub(named, text)


def one_line(text: str) -> str:
    """Text for one line of a terminal: newline and tab are spelt out too.

    >>> one_line("model\\n\\x1b]8;;x\\x07")
    'model␊␛]8;;x␇'
    """
    return visible(text).replace("\n", "␊").replace("\t", "␉")


def named(match: re.Match[str]) -> str:
    """The one unseen character that was found, spelt out."""
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's control pictures
    return "␡" if code == 0x7F else f"[U+{code:04X}]"
