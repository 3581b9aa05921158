"""How this repository documents its code, told to mkdocstrings: a field by the comment beside it, an example by `>>>`."""

from __future__ import annotations

import io
import re
import textwrap
import tokenize
from typing import TYPE_CHECKING, Any

from griffe import Docstring, Extension

if TYPE_CHECKING:
    from griffe import Attribute, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Docstrings(Extension):
    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """An example is code, not prose with links."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """The comment behind a field says what it holds."""
        if attr.docstring is None and (said := comment_in(attr.source)):
            attr.docstring = Docstring(said[0].upper() + said[1:], parent=attr)


def comment_in(source: str) -> str:
    """The comments of a statement, in one line; "" where there is none or it tells the linter something."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(textwrap.dedent(source)).readline))
    except (tokenize.TokenError, IndentationError):
        return ""
    said = " ".join(one.string.lstrip("# ") for one in tokens if one.type == tokenize.COMMENT)
    return "" if said.startswith(("noqa", "type:", "fmt:")) else said
