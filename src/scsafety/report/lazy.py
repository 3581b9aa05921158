"""Data of a page in files of their own, loaded when they are asked for: a script that hands JSON to a function of the page.

A page may lie in a folder, and from `file:` a browser lets it fetch nothing; a `<script src>` it does run. What its policy
must allow for that was measured in Chromium 150, page and data in one folder, the page's own script by its hash:

- `'self'` alone runs the file, from `file:` and over HTTP; `file:` alone runs it from `file:` only. Elsewhere `'self'`
  does not stand for a page without an origin, as one from `file:` is, so that both are written; over HTTP `file:` allows
  nothing, since such a page may not load local files at all.
- With both, scripts of a host, `data:`, `blob:` and inline stay refused.
"""

from __future__ import annotations

import re

import msgspec
from markupsafe import Markup

RECEIVER = "scsafetyReceive"  # the page's function: (name, data)
SOURCE = "'self' file:"  # of a policy's script-src, beside the page's own script
UNSAFE = re.compile("[<>&\u2028\u2029]")  # ends a script or a line of one; JSON has them within strings only


def json_text(data: object) -> Markup:
    """JSON that may stand in a `<script>` of either kind, and reads as the same data. Texts are the caller's to make `visible`.

    >>> json_text({"name": "</script>&"})
    Markup('{"name":"\\\\u003c/script\\\\u003e\\\\u0026"}')
    """
    text = UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", msgspec.json.encode(data).decode())
    return Markup(text)  # noqa: S704 (nothing in it ends the element)


def lazy_script(name: str, data: object) -> bytes:
    """A file that hands `data` to the page that loads it.

    >>> lazy_script("a", [1])
    b'scsafetyReceive("a",[1]);\\n'
    """
    return f"{RECEIVER}({json_text(name)},{json_text(data)});\n".encode()
