"""What a response's body says of a fault, whatever its shape: each vendor has another corner for it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.records import whole_characters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LINE_CHARS = 300
RAW_CHARS = 4_000
MAX_MESSAGES = 20  # of one body
MAX_DEPTH = 4  # of bodies within bodies: gateways quote what their upstream said
# OpenAI's form, which many took over; Zhipu's `id.secret`; a header that is quoted back
KEY_LIKE = re.compile(r"\b(?:g?sk-[\w*.-]{6,}|[0-9a-f]{32}\.\w{16})|(?<=Bearer )[\w.~+/=:*-]{6,}")
SUCCESS = frozenset({"", "0", "200", "ok", "success"})
CODES = ("code", "error_code")


class Said(msgspec.Struct):
    """All that a body says of a fault, from whichever of its corners."""

    codes: list[str] = []
    types: list[str] = []
    messages: list[str] = []
    params: list[str] = []
    roles: set[str] = set()
    status: int | None = None  # an HTTP status that stands in the body

    def __bool__(self) -> bool:
        return bool(self.codes or self.types or self.messages)

    @property
    def words(self) -> set[str]:
        return folded((*self.codes, *self.types))

    def names(self, codes: Iterable[str]) -> bool:
        """Whether it holds one of these codes or types."""
        return not self.words.isdisjoint(folded(codes))

    def matches(self, regex: str | None) -> bool:
        """Whether one of its messages does; nothing matches None."""
        return regex is not None and any(re.search(regex, message, re.IGNORECASE) for message in self.messages)

    def in_a_line(self, otherwise: str) -> str:
        words = self.messages[0] if self.messages else ""
        code = next((code for code in (*self.codes, *self.types) if code != str(self.status)), "")
        if not words:
            return line(f"{otherwise} {code}")
        return line(words if code.casefold() in words.casefold() else f"{code}: {words}")

    def add(self, text: str) -> None:
        if text.strip() and len(self.messages) < MAX_MESSAGES:
            self.messages.append(text.strip()[:RAW_CHARS])

    def read(self, body: Any, depth: int = 0, *, with_top: bool = True) -> None:
        """Collects; `with_top` False leaves out words that a normal answer has on top too."""
        if depth > MAX_DEPTH:
            return
        if isinstance(body, list):
            for part in body[:3]:
                self.read(part, depth + 1)
        elif isinstance(body, str) and depth:
            self.add(body)
        if not isinstance(body, dict):
            return
        failed = any(_code(body.get(name)) for name in CODES)
        if with_top or failed:
            all_is_well = not failed and any(body.get(name) is not None for name in CODES)
            self._read_fault(body, depth, with_message=not all_is_well)
        for inner in _dicts(body, "base_resp", "header"):
            code = _code(inner.get("status_code", inner.get("code")))
            if code:
                self.codes.append(code)
                for text in _texts(inner, "status_msg", "message"):
                    self.add(text)
        error = body.get("error")
        if isinstance(error, dict):
            self._read_fault(error, depth)
            error = error.get("error")
        self.read(error, depth + 1)
        self._read_detail(body.get("detail"), depth)
        for name in ("contentFilter", "content_filter"):
            roles = body.get(name)
            if isinstance(roles, list):
                self.roles.update(str(part.get("role")) for part in roles if isinstance(part, dict))

    def _read_fault(self, fault: dict[str, Any], depth: int, *, with_message: bool = True) -> None:
        """The fields of one error object."""
        for code in filter(None, (_code(fault.get(name)) for name in CODES)):
            self.codes.append(code)
            if self.status is None and re.fullmatch(r"[45][0-9]{2}", code):
                self.status = int(code)
        for inner in _dicts(fault, "innererror"):
            self.codes.extend(filter(None, [_code(inner.get("code"))]))
        for status in _texts(fault, "status"):
            if re.fullmatch(r"[A-Z_]{3,}", status):  # Google's `RESOURCE_EXHAUSTED`
                self.codes.append(status)
        self.types.extend(kind.strip() for kind in _texts(fault, "type") if kind != "error")
        if with_message:
            for text in _texts(fault, "message", "msg", "error_msg"):
                self.add(text)
                self._read_quoted(text, depth)
        self.params.extend(param.strip() for param in _texts(fault, "param"))
        for metadata in _dicts(fault, "metadata"):
            for raw in _dicts(metadata, "raw"):
                self.read(raw, depth + 1)
            for text in _texts(metadata, "raw"):
                if not self._read_quoted(text, depth):
                    self.add(text)

    def _read_quoted(self, text: str, depth: int) -> bool:
        """A body quoted as text within a body."""
        quoted = parsed(text) if text.lstrip()[:1] in ("{", "[") else None
        self.read(quoted, depth + 1)
        return quoted is not None

    def _read_detail(self, detail: Any, depth: int) -> None:
        if isinstance(detail, str):
            self.add(detail)
        elif isinstance(detail, dict):
            self.read(detail, depth + 1)
        elif isinstance(detail, list):  # a validation report: `{"loc": ["body", "seed"], "msg": "..."}`
            for part in detail[:5]:
                if isinstance(part, dict):
                    where = part.get("loc")
                    names = ".".join(name for name in where if isinstance(name, str)) if isinstance(where, list) else ""
                    text = " ".join(_texts(part, "msg"))
                    self.add(f"{names}: {text}" if names else text)


def decoded(body: bytes, content_type: str) -> str:
    """The body as text: UTF-8, else what the header declares, else what it looks like; never refused.

    What fits nothing is replaced by U+FFFD.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in body[:2] or body[:2] in (b"\xff\xfe", b"\xfe\xff"):  # JSON begins with an ASCII character
        wide = "utf-16-be" if body[:1] == b"\0" else "utf-16-le" if body[1:2] == b"\0" else "utf-16"
        return body.decode(wide, errors="replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        charset = re.search(r"charset=\"?([\w.:-]+)", content_type, re.IGNORECASE)
    if charset and charset[1].casefold() not in ("utf-8", "utf8"):
        try:
            return body.decode(charset[1], errors="replace")
        except (LookupError, ValueError):
            pass
    text = body.decode("utf-8", errors="replace")
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    if 2 * text.count("\ufffd") > foreign:  # not a few bad bytes but another charset: the one of older Chinese servers
        try:
            return body.decode("gb18030")
        except UnicodeDecodeError:
            pass
    return text


def parsed(text: str) -> Any:
    """The JSON value at the start of the text, after blank lines; None when there is none."""
    text = text.lstrip("\ufeff \t\r\n")
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    # Half a surrogate pair, a bare line break in a string, something behind the object: an answer all the same.
    try:
        return json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _code(value: Any) -> str | None:
    """A code as text, None for none and for one that means success."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    code = value.strip() if isinstance(value, str) else f"{value:d}"[:20]
    return None if code.casefold() in SUCCESS else code


def _texts(fault: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        text = fault.get(name)
        if isinstance(text, str) and text.strip():
            yield text


def _dicts(body: Mapping[str, Any], *names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        inner = body.get(name)
        if isinstance(inner, dict):
            yield inner


def folded(words: Iterable[str]) -> set[str]:
    """For a comparison in any case of letters."""
    return {word.casefold() for word in words}


def line(text: str) -> str:
    """One printable line of at most 300 characters, without anything that looks like a key."""
    head = KEY_LIKE.sub("***", whole_characters(text[: LINE_CHARS * 8]))
    if not head.isprintable():
        head = "".join(char if char.isprintable() else " " for char in head)
    short = " ".join(head.split())
    return short if len(short) <= LINE_CHARS else f"{short[: LINE_CHARS - 1]}…"
