"""An application behind plain HTTP as a target: a file says what is sent and where the answer stands (`http:FILE.toml`).

Only the two translations are here: our messages into its JSON, its JSON into a chat completion. Transport, retry, limits and
the meaning of a response are the same as for every other endpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import ConfigError
from scsafety.targets.bodies import SUCCESS
from scsafety.targets.keys import find_key, ways_to_set
from scsafety.targets.providers import ANY, Endpoint, Header, Provider, checked_url, key_variables, providers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Message, Sampling
    from scsafety.targets.keys import KeyStore

PREFIX = "http:"
PLACEHOLDERS = ("prompt", "messages", "system", "max_tokens")
PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")
HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
OURS = frozenset({"content-length", "transfer-encoding", "host", "connection"})
SPEAKERS = {"system": "系统", "user": "用户", "assistant": "助手"}
NAMED_FIELDS = 8  # of a response, in an error message
GONE = object()  # no value: the field is left out; nothing stands at a path


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As the user writes it."""

    url: str
    body: str  # JSON with placeholders
    answer: str  # where it stands in the response: `data.reply`, `choices.0.text`
    name: str | None = None
    reasoning: str | None = None
    blocked: str | None = None  # what is true there, or `path=value`
    error: str | None = None
    headers: dict[str, str] = {}


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to an application, and how its answer is read."""

    path: str  # of the file
    sha256: str  # of all in it that can move an answer
    template: dict[str, Any]
    places: frozenset[str]  # the placeholders in it
    answer: str
    reasoning: str | None
    blocked: str | None
    error: str | None


def application_file(spec: str) -> Path | None:
    """The file in `http:FILE.toml`; None for any other target. Raises ConfigError for an address."""
    if not spec.startswith(PREFIX):
        return None
    if spec.startswith(f"{PREFIX}//"):
        raise ConfigError(
            f"{spec} is an address: write openai-compatible/NAME with --base-url, or http:FILE.toml for an application of its own"
        )
    return Path(spec.removeprefix(PREFIX))


def resolve_application(path: Path, base_url: str | None, stores: Sequence[KeyStore]) -> Endpoint:
    """The endpoint that the file describes, its headers filled in. Raises ConfigError, which names file, field and mend."""
    given = _read(path)
    url = checked_url(given.url, f"{path}: url")
    if base_url is not None and base_url != url:
        raise ConfigError(
            f"{path}: its url is another one than {base_url}; the address stands in the file, drop the base URL"
        )
    name = (given.name or path.stem).strip()
    if not name or not name.isprintable():
        raise ConfigError(f"{path}: name: {name!r} cannot be printed; give a plain word")
    headers = tuple(_header(path, name, text, stores) for name, text in given.headers.items())
    row = next(row for row in providers() if row.id == ANY)
    provider: Provider = msgspec.structs.replace(row, id="http", key="none", key_vars=(), json_mode=False)
    return Endpoint(
        provider=provider,
        model=name,
        base_url=url,
        path="",
        key_source=", ".join(header.source for header in headers) or None,
        headers=headers,
        form=_form(path, given),
    )


def write_body(form: Form, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    """The template with its placeholders filled in; a field whose only content has no value is left out."""
    system = next((message.content for message in messages if message.role == "system"), None)
    given: dict[str, Any] = {
        "prompt": _prompt(form, messages),
        "messages": [
            {"role": message.role, "content": message.content}
            for message in messages
            if message.role != "system" or "system" not in form.places
        ],
        "system": system,
        "max_tokens": sampling.max_tokens,
    }
    filled: dict[str, Any] = _filled(form.template, given)
    return filled | sampling.extra


def read_body(form: Form, status: int, body: Any) -> Any:
    """The application's JSON as a chat completion, or as an error in the common form; what is no JSON stays as it is."""
    if not isinstance(body, dict | list):
        return body
    answer = _at(body, form.answer)
    thought = _at(body, form.reasoning) if form.reasoning else None
    message = {
        "content": answer if answer is not GONE else "",
        "reasoning_content": thought if thought is not GONE else None,
    }
    if form.blocked and _is_flagged(body, form.blocked):
        return {"choices": [{"message": message}], "error": {"code": "content_filter"}}
    error = _at(body, form.error) if form.error else None
    if _is_true(error):
        return {"error": error if isinstance(error, dict) else {"message": str(error)}}
    if not 200 <= status < 300:
        return body
    if answer is GONE or isinstance(answer, dict | bool):
        found = "nothing stands there" if answer is GONE else "no text stands there"
        fields = ", ".join(list(_paths(body))[:NAMED_FIELDS]) or "nothing"
        return {"error": {"message": f"{form.path}: answer = {form.answer}: {found}; the response has {fields}"}}
    return {"choices": [{"message": message}]}


def _read(path: Path) -> _File:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path as http:FILE.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error}); docs/endpoints.md shows such a file") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}; docs/endpoints.md lists the fields") from error


def _form(path: Path, given: _File) -> Form:
    try:
        template = json.loads(given.body)
    except ValueError as error:
        raise ConfigError(f"{path}: body: not JSON ({error}); paste a request and put the placeholders in") from error
    if not isinstance(template, dict):
        raise ConfigError(f"{path}: body: not a JSON object; paste a request and put the placeholders in")
    places = set()
    for text in _texts(template):
        for name in PLACE.findall(text):
            if name not in PLACEHOLDERS:
                there = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                raise ConfigError(f"{path}: body: {{{name}}} is no placeholder; there is {there}")
            places.add(name)
        if "{messages}" in text and text != "{messages}":
            raise ConfigError(f'{path}: body: {{messages}} is a list and stands alone: "{{messages}}"')
    if not places & {"prompt", "messages"}:
        raise ConfigError(f"{path}: body: holds neither {{prompt}} nor {{messages}}, so that nothing would be asked")
    for field in ("answer", "reasoning", "blocked", "error"):
        text = getattr(given, field)
        if text is not None and not all(part.strip() for part in text.partition("=")[0].split(".")):
            raise ConfigError(f"{path}: {field}: {text!r} is no path; write it like data.reply or choices.0.text")
    moving = msgspec.structs.replace(given, name=None, headers={})
    return Form(
        path=str(path),
        sha256=hashlib.sha256(msgspec.json.encode(moving, order="sorted")).hexdigest(),
        template=template,
        places=frozenset(places),
        answer=given.answer,
        reasoning=given.reasoning,
        blocked=given.blocked,
        error=given.error,
    )


def _header(path: Path, name: str, text: str, stores: Sequence[KeyStore]) -> Header:
    """A header whose value comes from a variable. Another vendor's key goes to that vendor alone, whatever a file says."""
    where = f"{path}: headers.{name}"
    if not HEADER_NAME.fullmatch(name) or name.lower() in OURS:
        raise ConfigError(f"{where}: no header that can be set; leave it out")
    found = PLACE.findall(text)
    if len(found) != 1:
        raise ConfigError(
            f'{where}: takes its value from one environment variable, as in "Bearer {{SHOP_TOKEN}}": write the name there and '
            "no value, so that the file holds no secret"
        )
    if found[0] in key_variables() and found[0] != "SCSAFETY_API_KEY":
        raise ConfigError(f"{where}: {found[0]} is a vendor's key and goes to nobody else; use a variable of its own")
    key = find_key(found, stores)
    if key is None:
        raise ConfigError(f"{where}: {found[0]} is not set: {ways_to_set(found[0])}")
    before, _, after = text.partition(f"{{{found[0]}}}")
    if not (before + after).isascii() or not (before + after).isprintable():
        raise ConfigError(f"{where}: holds a character that no header takes; write it in ASCII")
    return Header(name=name, before=before, secret=key.secret, after=after, source=key.source)


def _prompt(form: Form, messages: Sequence[Message]) -> str:
    """The user's message; where the conversation goes out in no other way, it stands before it."""
    *before, last = messages
    told = [message for message in before if message.role != "system" or "system" not in form.places]
    if "messages" in form.places or not told:
        return last.content
    return "\n\n".join(f"{SPEAKERS[message.role]}：{message.content}" for message in (*told, last))


def _filled(value: Any, given: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        pairs = {name: _filled(inner, given) for name, inner in value.items()}
        return {name: inner for name, inner in pairs.items() if inner is not GONE}
    if isinstance(value, list):
        return [filled for inner in value if (filled := _filled(inner, given)) is not GONE]
    if not isinstance(value, str):
        return value
    if whole := PLACE.fullmatch(value):
        found = given[whole[1]]
        return GONE if found is None else found
    return PLACE.sub(lambda place: "" if given[place[1]] is None else str(given[place[1]]), value)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [text for inner in (value.values() if isinstance(value, dict) else value) for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _at(body: Any, path: str) -> Any:
    """What stands at `data.0.reply`; GONE where nothing does.

    >>> _at({"data": [{"reply": "好"}]}, "data.0.reply"), _at({}, "data") is GONE
    ('好', True)
    """
    for part in path.split("."):
        if isinstance(body, list) and part.isdecimal() and int(part) < len(body):
            body = body[int(part)]
        elif isinstance(body, dict) and part in body:
            body = body[part]
        else:
            return GONE
    return body


def _is_flagged(body: Any, path: str) -> bool:
    where, equals, wanted = path.partition("=")
    found = _at(body, where.strip())
    if equals:
        return found is not GONE and str(found).strip().casefold() == wanted.strip().casefold()
    return _is_true(found)


def _is_true(value: Any) -> bool:
    """Not what servers write for no: nothing, false, 0, an empty text, `ok`."""
    if isinstance(value, str):
        return value.strip().casefold() not in SUCCESS | {"false", "none", "null", "no"}
    return value is not GONE and bool(value)


def _paths(body: Any) -> list[str]:
    """The first two levels of fields in a response, for a message."""
    if isinstance(body, list):
        return [f"{k}" for k in range(len(body))]
    return [
        path
        for name, inner in body.items()
        for path in ([f"{name}.{deeper}" for deeper in inner] if isinstance(inner, dict) and inner else [str(name)])
    ]
