"""Text as another format may have it: a name of a model or a run is anybody's text and stays text everywhere. Pure."""

from __future__ import annotations

import re

from scsafety.report.visible import visible

# what Markdown and the HTML inside it would take for markup; a line ends a table's row
MARKDOWN = re.compile(r"([\\`*_\[\]{}|~#$!])")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "→": r"$\to$",
    "-": "{-}",  # two of them would be a dash
}  # fmt: skip
NO_XML = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def markdown(text: str) -> str:
    """A cell of a Markdown table.

    >>> markdown("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKDOWN.sub(r"\\\1", plain)


def latex(text: str) -> str:
    """A cell of a LaTeX table.

    >>> latex("50% of a_b")
    '50\\\\% of a\\\\_b'
    """
    return "".join(LATEX.get(char, char) for char in one_line(text))


def xml(text: str) -> str:
    """Without controls and what else XML cannot hold; the writer of the XML escapes the rest.

    >>> xml("a\\x1bb\\n<")
    'ab\\n<'
    """
    return NO_XML.sub("", text)


def one_line(text: str) -> str:
    """In one line, nothing unseen, nothing that is no character."""
    return xml(visible(" ".join(text.split())))
