"""A keyring for tests that holds what one environment variable gives it; chosen by PYTHON_KEYRING_BACKEND."""

from __future__ import annotations

import os

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

HELD = "TEST_KEYRING"  # `VARIABLE=key`, or `locked`


class InMemory(KeyringBackend):
    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def get_password(self, service: str, username: str) -> str | None:
        held = os.environ.get(HELD, "")
        if held == "locked":
            raise KeyringLocked("locked")
        name, _, key = held.partition("=")
        return key if (service, username) == ("scsafety", name) else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError
