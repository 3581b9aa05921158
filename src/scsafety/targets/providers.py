"""Which endpoint a `provider/model` is: the provider's table, its address and its key."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from scsafety.errors import ConfigError
from scsafety.records import Side  # noqa: TC001 - msgspec reads the annotation
from scsafety.targets.keys import EnvironmentKeys, FoundKey, Secret, find_key, ways_to_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scsafety.targets.application import Form
    from scsafety.targets.keys import KeyStore
    from scsafety.targets.plugin import PluginTarget

CHAT_PATH = "/chat/completions"
MASKED_CHARS = 6
ANY = "openai-compatible"  # the provider without an address of its own

Mark = Literal["S", "S2", "NC"]
Thinking = Literal["on", "off"]


class Marks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sure each part of a row is: S a source was read, S2 third-party code, NC not confirmed."""

    address: Mark
    key: Mark
    parameters: Mark
    limits: Mark
    moderation: Mark


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body fields that turn a model's thinking on or off; None where none is known."""

    on: dict[str, Any] | None = None
    off: dict[str, Any] | None = None


class ModelRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs for some models of a provider."""

    match: str  # regex, searched in the model's name
    max_tokens_field: str | None = None
    drop: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    thinking: Switch | None = None


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of `providers.toml`; the head of that file says what each field means."""

    id: str
    name_zh: str
    name_en: str
    marks: Marks
    note_zh: str
    note_en: str
    aliases: tuple[str, ...] = ()
    base_url: str | None = None
    other_base_urls: dict[str, str] = {}
    own_hosts: tuple[str, ...] = ()
    base_url_var: str | None = None
    api_version_var: str | None = None
    key_vars: tuple[str, ...] = ()
    key: Literal["required", "optional", "none"] = "required"
    auth: Literal["bearer", "api-key"] = "bearer"
    local: bool = False  # self-hosted: no vendor moderation stands before the model
    vendor_codes: dict[str, Side] = {}
    rate_codes: tuple[str, ...] = ()
    quota_codes: tuple[str, ...] = ()
    account_codes: tuple[str, ...] = ()
    key_codes: tuple[str, ...] = ()
    transient_codes: tuple[str, ...] = ()
    too_long_codes: tuple[str, ...] = ()
    quota_message_regex: str | None = None
    blocked_message_regex: str | None = None
    flagged_text: Literal["send", "replace"] = "send"
    max_tokens_field: str = "max_tokens"
    temperature_above_zero: bool = False
    drop: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    thinking: Switch = Switch()
    json_mode: bool | None = None
    control_question: bool | None = None  # None: where the endpoint is not on this machine
    concurrency: int | None = None  # calls in flight
    read_timeout_s: float | None = None
    models: tuple[ModelRule, ...] = msgspec.field(default=(), name="model")

    def for_model(self, model: str) -> Provider:
        """This row with the rules for that model merged in, later rules last."""
        row = self
        for rule in self.models:
            if re.search(rule.match, model, re.IGNORECASE):
                row = msgspec.structs.replace(
                    row,
                    max_tokens_field=rule.max_tokens_field or row.max_tokens_field,
                    drop=tuple(dict.fromkeys((*row.drop, *rule.drop))),
                    extra={**row.extra, **rule.extra},
                    thinking=rule.thinking or row.thinking,
                )
        return row


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: tuple[Provider, ...]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A header of an application's own, with a secret in it."""

    name: str
    before: str
    secret: Secret
    after: str
    source: str  # `SHOP_TOKEN in .env`

    def reveal(self) -> str:
        return f"{self.before}{self.secret.reveal()}{self.after}"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    provider: Provider  # with the rules for this model merged in
    model: str  # the name that is sent
    base_url: str  # without a trailing slash
    key: Secret | None = None
    key_source: str | None = None  # `DEEPSEEK_API_KEY in .env`
    api_version: str | None = None  # Azure deployments only
    path: str = CHAT_PATH  # behind the base URL
    headers: tuple[Header, ...] = ()
    form: Form | None = None  # what an application takes and gives; None: chat completions
    plugin: PluginTarget | None = None  # asks in its own way

    @property
    def label(self) -> str:
        return f"{self.provider.id}/{self.model}"

    @property
    def url(self) -> str:
        """Where requests are posted."""
        query = f"?api-version={self.api_version}" if self.api_version else ""
        return f"{self.base_url}{self.path}{query}"

    @property
    def takes_images(self) -> bool:
        return self.form is None and self.plugin is None

    def clean(self, text: str) -> str:
        """Without the key and without what stands in headers, should the text repeat them."""
        if self.key is not None:
            text = self.key.mask(text)
        for header in self.headers:
            if len(header.secret.reveal()) >= MASKED_CHARS:  # a tenant's number is a word like any other
                text = header.secret.mask(text)
        return text


@cache
def providers() -> tuple[Provider, ...]:
    """All rows, in the order of the table."""
    text = resources.files("scsafety.targets").joinpath("providers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Table).provider


def key_variables() -> tuple[str, ...]:
    """Every provider's, in the order of the table."""
    return tuple(var for provider in providers() for var in provider.key_vars)


@cache
def _by_name() -> Mapping[str, Provider]:
    return {name: provider for provider in providers() for name in (provider.id, *provider.aliases)}


def provider_names() -> tuple[str, ...]:
    """Ids and aliases, in lower case."""
    return tuple(_by_name())


def find_provider(name: str) -> Provider | None:
    """The provider of that id or alias, in either case of letters."""
    return _by_name().get(name.strip().casefold())


def resolve(
    model: str,
    *,
    base_url: str | None = None,
    environ: Mapping[str, str],
    stores: Sequence[KeyStore] | None = None,
) -> Endpoint:
    """The endpoint of `provider/model`; the model's name may hold slashes.

    A `base_url` replaces the provider's own. stores: where the key is looked for; None: in `environ` only.

    Raises ConfigError for an unknown provider, a model without one, an address that cannot be used, and a missing or broken
    key.
    """
    model = model.strip()
    name, slash, model_name = model.partition("/")
    provider = find_provider(name)
    if re.match(r"(?i)local/|gguf:", model):
        raise ConfigError(f"{model} is an embedded model and has no endpoint: drop the base URL, or name a provider")
    if provider is None or not slash:
        raise ConfigError(_unknown(model, name, slash=bool(slash)))
    model_name = model_name.strip()
    if not model_name:
        raise ConfigError(f"{model} names no model: write {provider.id}/MODEL")
    if not model_name.isprintable():
        raise ConfigError(f"the model's name in {model!r} holds a control character")
    provider = provider.for_model(model_name)
    base, version = _address(provider, model_name, base_url, environ)
    found = _key(provider, (EnvironmentKeys(environ),) if stores is None else stores)
    return Endpoint(
        provider=provider,
        model=model_name,
        base_url=base,
        key=found.secret if found else None,
        key_source=found.source if found else None,
        api_version=version,
    )


def asks_control_question(endpoint: Endpoint) -> bool:
    """Whether a harmless question is asked before the first item: not on this machine, unless the row says otherwise."""
    asked = endpoint.provider.control_question
    return not is_loopback(endpoint.base_url) if asked is None else asked


def thinking_fields(endpoint: Endpoint, thinking: Thinking) -> dict[str, Any]:
    """The body fields that turn the model's thinking on or off. Raises ConfigError where none are known."""
    switch = endpoint.provider.thinking
    fields = switch.on if thinking == "on" else switch.off
    if fields is None:
        raise ConfigError(
            f"--thinking {thinking}: no switch is known for {endpoint.label}; leave it out and give the vendor's own body "
            "field with --extra '{...}'"
        )
    return fields


def host_is_vendors_own(endpoint: Endpoint) -> bool:
    """Whether requests go to the vendor itself and not to a gateway, which may answer in the model's place.

    True for self-hosted servers, behind which stands no vendor; never true for `openai-compatible`.
    """
    provider = endpoint.provider
    if provider.local:
        return True
    host = urlsplit(endpoint.base_url).hostname or ""
    known = [urlsplit(url).hostname for url in (provider.base_url, *provider.other_base_urls.values()) if url]
    return any(
        host == own or (own[:2] == "*." and host.endswith(own[1:])) for own in (*known, *provider.own_hosts) if own
    )


def is_loopback(base_url: str) -> bool:
    """127.0.0.0/8, ::1 or localhost, by the address as written: no name is looked up."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unknown(model: str, name: str, *, slash: bool) -> str:
    """Why the provider of a model is not known, and what was probably meant."""
    forms = (
        "write provider/model, local/NAME or gguf:PATH (the embedded models), openai-compatible/NAME with a base URL, or "
        "http:FILE.toml"
    )
    if not model:
        return f"no model is named: {forms}"
    names = list(_by_name())
    if not slash:
        provider = find_provider(name)
        if provider is not None:
            return f"{model} is a provider and not a model: write {provider.id}/MODEL"
        maker = next((known for known in names if model.casefold().startswith(known)), None)
        guess = f"; did you mean {_by_name()[maker].id}/{model}?" if maker else ""
        if model.casefold().endswith(".gguf"):
            guess = f"; did you mean gguf:{model}?"
        return f"{model} names no provider{guess} ({forms})"
    close = difflib.get_close_matches(name.casefold(), [*names, "local"], n=1, cutoff=0.6)
    rest = model.partition("/")[2]
    guess = f"; did you mean {close[0]}/{rest}?" if close else ""
    return f"unknown provider {name!r}{guess} ({forms}; providers: {', '.join(p.id for p in providers())})"


def _address(provider: Provider, model: str, given: str | None, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The base URL without its trailing slash, and Azure's api-version where the path is a deployment's."""
    from_var = environ.get(provider.base_url_var, "").strip() if provider.base_url_var else ""
    if given is not None:
        base = _base_url(given, "the base URL")
    elif from_var:
        base = _base_url(from_var, str(provider.base_url_var))
    elif provider.base_url is not None:
        return provider.base_url, None
    else:
        how = f"export {provider.base_url_var}=https://... or " if provider.base_url_var else ""
        raise ConfigError(
            f"{provider.id} has no address of its own: {how}give a base URL (--base-url, for a judge --judge-base-url)"
        )
    if provider.api_version_var is None:
        return base, None
    return _azure_address(base, model, environ.get(provider.api_version_var, "").strip(), provider.api_version_var)


def _azure_address(base: str, model: str, version: str, version_var: str) -> tuple[str, str | None]:
    """Azure has two paths: `/openai/v1`, and one for each deployment, which needs an api-version."""
    path = urlsplit(base).path
    if version and not re.fullmatch(r"[A-Za-z0-9.-]+", version):
        raise ConfigError(f"{version_var} is no version: export it as, say, 2024-10-21")
    if path.endswith("/openai/v1"):
        return base, None
    if "/openai/deployments/" in path:
        if not version:
            raise ConfigError(f"a deployment's address needs a version: export {version_var}=2024-10-21")
        return base, version
    root = base.removesuffix("/openai")
    if version and version not in ("v1", "preview", "latest"):
        return f"{root}/openai/deployments/{quote(model, safe='')}", version
    return f"{root}/openai/v1", None


def checked_url(text: str, source: str) -> str:
    """The URL, once it is one that requests can go to. Messages do not repeat it, it may hold a secret."""
    text = text.strip()
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{source} must be an http:// or https:// address, as in http://127.0.0.1:8000/v1")
    if "@" in parts.netloc:
        raise ConfigError(
            f"{source} holds a user name or password: keys come from the environment, .env or the keyring"
        )
    if "?" in text or "#" in text:
        raise ConfigError(
            f"{source} holds a query or a fragment: leave out what stands from ? or # on"
            " (keys and versions come from the environment)"
        )
    return text


def _base_url(text: str, source: str) -> str:
    """The URL without `/chat/completions` and trailing slashes."""
    return checked_url(text, source).rstrip("/").removesuffix(CHAT_PATH).rstrip("/")


def _split(text: str) -> SplitResult | None:
    if not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port  # read for its ValueError
    except ValueError:
        return None
    return parts


def _key(provider: Provider, stores: Sequence[KeyStore]) -> FoundKey | None:
    """The provider's key, from its own variables only."""
    if provider.key == "none":
        return None
    found = find_key(provider.key_vars, stores)
    if found is None and provider.key == "required":
        first, *others = provider.key_vars
        also = f"; {' or '.join(others)} will do too" if others else ""
        raise ConfigError(f"{provider.id} needs a key: {ways_to_set(first)}{also}")
    return found
