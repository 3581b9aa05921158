"""The way to an address: which proxy and certificates hold for it, and whether name, port and TLS work. No question is asked."""

from __future__ import annotations

import base64
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from scsafety.errors import MachineError
from scsafety.targets.providers import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

CONNECT_TIMEOUT_S = 10.0
CA_VARS = ("SSL_CERT_FILE", "SSL_CERT_DIR")
CA_VARS_OF_OTHERS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
PORTS = {"http": 80, "https": 443}
MAX_HEAD_BYTES = 16_384


class Route(msgspec.Struct, frozen=True):
    """How requests to one address travel."""

    proxy: str | None  # with its password, if it has one: never shown
    words: str  # for people


def proxy_for(url: str) -> str | None:
    """The proxy that this machine's environment names for an address (HTTPS_PROXY, NO_PROXY and the like)."""
    return route_to(url).proxy


def route_to(url: str) -> Route:
    parts = urlsplit(url)
    if not parts.hostname or is_loopback(url):
        return Route(None, "direct: the address is on this machine")
    proxies = getproxies()
    proxy = proxies.get(parts.scheme)
    if proxy is None:
        other = f"; ALL_PROXY is not used, set {parts.scheme.upper()}_PROXY" if "all" in proxies else ""
        return Route(None, f"direct: no {parts.scheme.upper()}_PROXY is set{other}")
    if proxy_bypass(parts.netloc):
        return Route(None, f"direct: NO_PROXY leaves {parts.hostname} out")
    return Route(proxy, f"through {parts.scheme.upper()}_PROXY, {without_password(proxy)}")


def without_password(url: str) -> str:
    """Scheme, host and port of a proxy."""
    parts = _split(url)
    return f"{parts.scheme}://{_host_port(parts)}" if parts else "which is no address"


def certificates(environ: Mapping[str, str]) -> str:
    """Which certificates are trusted, for people. Raises MachineError where a variable names none."""
    for var in CA_VARS:
        if path := environ.get(var, ""):
            if not Path(path).exists():
                raise MachineError(f"{var} names {path}, which is not there: correct it, or unset it")
            return f"{var} {path}"
    others = [var for var in CA_VARS_OF_OTHERS if environ.get(var)]
    return "the system's" + (f" ({others[0]} is not read here: set SSL_CERT_FILE)" if others else "")


def reach(url: str, proxy: str | None) -> Iterator[str]:
    """One word of each step that works: name, port, TLS. Raises MachineError, which says where it stops and how to mend it."""
    target = urlsplit(url)
    first = _split(proxy) if proxy else target
    if first is None or first.scheme not in PORTS:
        raise MachineError(
            f"the proxy, {without_password(proxy or '')}, cannot be used; give http://HOST:PORT of an HTTP proxy"
        )
    where = "the proxy " if proxy else ""
    yield _look_up(first, where)
    with _connected(first, where) as sock:
        yield f"{where}{_host_port(first)} takes connections"
        if target.scheme != "https":
            return
        if proxy and first.scheme == "https":
            return  # TLS within TLS: the question will show
        if proxy:
            _ask_for_tunnel(sock, first, target)
        yield _shake_hands(sock, target)


def _look_up(parts: SplitResult, where: str) -> str:
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise MachineError(
            f"{where}{parts.hostname}: the name is not known (DNS: {why}); check its spelling, the network and the DNS server"
        ) from error
    return f"{where}{parts.hostname} is {found[0][4][0]}"


def _connected(parts: SplitResult, where: str) -> socket.socket:
    try:
        return socket.create_connection((parts.hostname or "", _port(parts)), timeout=CONNECT_TIMEOUT_S)
    except ConnectionRefusedError as error:
        raise MachineError(
            f"{where}{_host_port(parts)}: the connection is refused (TCP); is the server running, and is the port right?"
        ) from error
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise MachineError(
            f"{where}{_host_port(parts)}: no connection (TCP: {why}); a firewall, or a proxy that has to be named in HTTPS_PROXY?"
        ) from error


def _ask_for_tunnel(sock: socket.socket, proxy: SplitResult, target: SplitResult) -> None:
    head = f"CONNECT {_host_port(target)} HTTP/1.1\r\nHost: {_host_port(target)}\r\n"
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        head += f"Proxy-Authorization: Basic {base64.b64encode(login).decode()}\r\n"
    try:
        sock.sendall(f"{head}\r\n".encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < MAX_HEAD_BYTES and (more := sock.recv(1)):
            answer += more
    except OSError as error:
        raise MachineError(
            f"the proxy {_host_port(proxy)} does not answer ({type(error).__name__}); check the proxy"
        ) from error
    status = answer.split(b"\r\n", 1)[0].split()[1:2]
    if status and status[0].startswith(b"2"):
        return
    code = status[0].decode("latin-1") if status else "nothing"
    mend = (
        "it wants a user name and password"
        if code == "407"
        else f"ask for {target.hostname} to be let through, or set NO_PROXY"
    )
    raise MachineError(f"the proxy {_host_port(proxy)} gives no tunnel to {_host_port(target)} ({code}); {mend}")


def _shake_hands(sock: socket.socket, target: SplitResult) -> str:
    try:
        with ssl.create_default_context().wrap_socket(sock, server_hostname=target.hostname) as secured:
            return f"{secured.version()} with a certificate that is trusted"
    except ssl.SSLCertVerificationError as error:
        raise MachineError(
            f"{target.hostname}: its certificate is not trusted ({error.verify_message}); behind a company's proxy name the "
            "company's certificate in SSL_CERT_FILE"
        ) from error
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        raise MachineError(
            f"{_host_port(target)}: no TLS ({why}); does it speak plain http, or does something on the way cut it off?"
        ) from error


def _split(proxy: str) -> SplitResult | None:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        _ = parts.port  # read for its ValueError
    except ValueError:
        return None
    return parts if parts.hostname else None


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS.get(parts.scheme, 443)


def _host_port(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{_port(parts)}"
