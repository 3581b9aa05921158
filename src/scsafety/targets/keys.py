"""Where a key is found: the environment, `.env` in the working directory, the system's keyring, in this order.

`.env` gives keys and nothing else: an address in a file that somebody else wrote could send a key elsewhere.
"""

from __future__ import annotations

import hmac
import io
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec

from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DOTENV = Path(".env")
SERVICE = "scsafety"  # in the keyring; the user name there is the variable's name
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=")
READABLE_BY_OTHERS = 0o044


class Secret:
    """A key. Only `reveal` shows it; printing, formatting, encoding and pickling do not."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def mask(self, text: str) -> str:
        """The text with the key, and each half of an `id:secret` key, replaced by `***`."""
        parts = [self._value, *(part for part in self._value.split(":") if len(part) >= 8)]
        for part in parts:
            if part:
                text = text.replace(part, "***")
        return text

    def fault(self) -> str | None:
        """What makes this no header value, in words that do not show it."""
        if not self._value.isascii():
            return "holds a character that is not ASCII"
        if not self._value.isprintable() or " " in self._value:
            return "holds a blank, a line break or a control character"
        return None

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


class KeyStore(Protocol):
    """A place that may hold keys."""

    @property
    def name(self) -> str:
        """For people: `the environment`, `.env`, `the keyring`."""
        ...

    @property
    def verb(self) -> str:
        """What one does to put a key there."""
        ...

    def get(self, var: str) -> Secret | None:
        """The key kept under a variable's name. Raises ConfigError where the place cannot be read."""
        ...


class FoundKey(msgspec.Struct, frozen=True):
    secret: Secret
    var: str
    store: str

    @property
    def source(self) -> str:
        return f"{self.var} in {self.store}"


def find_key(variables: Sequence[str], stores: Iterable[KeyStore]) -> FoundKey | None:
    """The first of the variables that the first store which has one of them holds. Raises ConfigError for a broken key."""
    for store in stores:
        for var in variables:
            secret = store.get(var)
            if secret is None:
                continue
            fault = secret.fault()
            if fault is not None:
                raise ConfigError(
                    f"{var} {fault} (found in {store.name}): {store.verb} the key again, as the provider shows it"
                )
            return FoundKey(secret, var, store.name)
    return None


def ways_to_set(var: str) -> str:
    """How a missing key is given, for an error message."""
    return (
        f"export {var}=..., or write {var}=... into .env in this folder, or `keyring set {SERVICE} {var}` "
        "(pip install 'scsafety[keyring]')"
    )


class EnvironmentKeys:
    name, verb = "the environment", "export"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, var: str) -> Secret | None:
        return _wrapped(self._environ.get(var))


class DotenvKeys:
    """The keys in a `.env` file; the process's environment stays as it is."""

    name, verb = ".env", "write"

    def __init__(self, path: Path = DOTENV) -> None:
        self._path = path
        self._held: dict[str, Secret | int] | None = None

    def get(self, var: str) -> Secret | None:
        if self._held is None:
            self._held = _read_dotenv(self._path)
        held = self._held.get(var)
        if isinstance(held, int):
            raise ConfigError(f"{self._path}, line {held}: {var} cannot be read; write {var}=... on a line of its own")
        return held


class KeyringKeys:
    """The system's keyring, where the extra `keyring` is installed; one that is locked or absent holds nothing."""

    name, verb = "the keyring", "set"

    def get(self, var: str) -> Secret | None:
        try:
            import keyring
        except ImportError:
            return None
        from concurrent.futures import ThreadPoolExecutor

        # keyring keeps the errors of backends that are absent, and with them all frames below: in a thread none is ours
        with ThreadPoolExecutor(1) as aside:
            backend = aside.submit(keyring.get_keyring).result()
        return _held_in(backend, var)


def stores_here() -> tuple[KeyStore, ...]:
    """The places where this process looks for a key."""
    return (EnvironmentKeys(os.environ), DotenvKeys(), KeyringKeys())


def exposed(variables: Iterable[str], path: Path = DOTENV) -> str | None:
    """A line of warning where `.env` holds one of these keys and others on this machine can read it."""
    try:
        mode = path.stat().st_mode & 0o777
        held = DotenvKeys(path)
        if os.name != "posix" or not mode & READABLE_BY_OTHERS or not any(map(held.get, variables)):
            return None
    except (OSError, ConfigError):
        return None
    return f"{path} holds a key and others on this machine can read it (mode {mode:o}): chmod 600 {path}"


@cache
def _held_in(backend: Any, var: str) -> Secret | None:
    """Asked once a process: some systems ask the user each time."""
    import keyring.errors

    try:
        return _wrapped(backend.get_password(SERVICE, var))
    except (keyring.errors.KeyringError, OSError, RuntimeError):
        return None


def _wrapped(value: str | None) -> Secret | None:
    """A key without the blanks around it; None for none. Wrapped at once, so that no frame's locals show it."""
    return Secret(value.strip()) if value and value.strip() else None


def _read_dotenv(path: Path) -> dict[str, Secret | int]:
    """Every key by its variable; the number of its line where it cannot be read. Raises ConfigError for the whole file.

    The lines are parsed and nothing more: a key may hold a dollar sign.
    """
    from dotenv.parser import parse_stream

    fault, text = _text_of(path)
    if fault is not None:
        # not `from error`: an error of decoding carries the file
        raise ConfigError(f"{path}: {fault}")
    held: dict[str, Secret | int] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            name = ASSIGNMENT.match(binding.original.string)
            held.update({name[1]: binding.original.line} if name else {})
        elif binding.key and (secret := _wrapped(binding.value)) is not None:
            held[binding.key] = secret
    return held


def _text_of(path: Path) -> tuple[str | None, str]:
    """What is wrong with the file and how to mend it, and its text; a file that is not there is empty."""
    try:
        return None, path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None, ""
    except UnicodeDecodeError:
        return "is not UTF-8; save it again as UTF-8", ""
    except OSError as error:
        return f"cannot be read ({error.strerror or 'system error'}); mend its permission, or remove it", ""
