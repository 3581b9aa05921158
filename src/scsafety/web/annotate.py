"""Labelling in the browser: the page and its four requests, on loopback, a token for each annotator."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from scsafety import api
from scsafety.engine.sitting import drive
from scsafety.errors import ConfigError, MachineError
from scsafety.judge.rubric import RUBRIC
from scsafety.store import Store
from scsafety.web.desk import Desk, Label

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from scsafety.judge.people import Plan

FILES = {
    "": ("annotate.html", "text/html"),
    "annotate.js": ("annotate.js", "text/javascript"),
    "annotate.css": ("annotate.css", "text/css"),
}
MAX_BODY = 1_000_000
BATCH = 16  # tasks on the annotator's machine, to go on with when the connection is lost
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Labels(msgspec.Struct, frozen=True):
    labels: list[Label]


def make_app(desk: Desk, tokens: Mapping[str, str], *, run: str) -> web.Application:
    """tokens: by annotator. Every request for data needs one; the page itself holds none."""

    def annotator(request: web.Request) -> str:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        for name, token in tokens.items():
            if hmac.compare_digest(given, token.encode()):
                return name
        raise web.HTTPUnauthorized(
            text="wrong or missing token: open the link that `scsafety annotate` printed for you"
        )

    async def file(request: web.Request) -> web.Response:
        name, kind = FILES[request.match_info.get("name", "")]
        data = resources.files("scsafety.web").joinpath(name).read_bytes()
        return web.Response(body=data, content_type=kind, charset="utf-8")

    async def begin(request: web.Request) -> web.Response:
        return _json({"annotator": annotator(request), "run": run, "rubric": RUBRIC})

    async def batch(request: web.Request) -> web.Response:
        name = annotator(request)
        skipped = [part for part in request.query.get("skipped", "").split(",") if part]
        return _json({"tasks": desk.batch(name, BATCH, skipped), "progress": desk.progress(name)})

    async def task(request: web.Request) -> web.Response:
        found = desk.task(annotator(request), request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound(text="no such task on this desk")
        return _json(found)

    async def labels(request: web.Request) -> web.Response:
        name = annotator(request)
        try:
            given = msgspec.json.decode(await request.read(), type=_Labels)
        except msgspec.MsgspecError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return _json({"new": desk.take(name, given.labels), "progress": desk.progress(name)})

    app = web.Application(client_max_size=MAX_BODY, middlewares=[_guarded])
    app.router.add_get("/", file)
    app.router.add_get("/{name:annotate\\.(?:js|css)}", file)
    app.router.add_get("/api/begin", begin)
    app.router.add_get("/api/batch", batch)
    app.router.add_get("/api/task/{id}", task)
    app.router.add_post("/api/labels", labels)
    return app


@web.middleware
async def _guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Our headers on everything, errors too."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    response.headers.update(HEADERS)
    return response


def label_run(
    run: str | Path,
    annotators: Sequence[str],
    *,
    sample: int = 120,
    plan: Plan = "random",
    second_share: float = 0.2,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 0,
    on_up: Callable[[dict[str, str]], None],
    out: str | Path = api.DEFAULT_OUT,
) -> api.RunResult:
    """Serve the labelling page of a run until interrupted; labels are verdicts `human/<name>` in its store.

    sample: pairs to label. second_share: of them by two people, 0 to 1. on_up: told each annotator's link. Afterwards summary
    and report show the score as people correct it. Raises ConfigError, MachineError and StoreError.
    """
    folder = api.find_run(run, out)
    with Store.open(folder / api.DB_NAME, write=True) as store:
        desk = Desk(store, annotators, sample=sample, plan=plan, second_share=second_share, seed=seed)
        if not desk.order:
            raise ConfigError(f"{folder.name} holds no answered pair to label; `scsafety resume {folder.name}` first")
        tokens = new_tokens(desk.annotators)

        def up(address: str) -> None:
            on_up({name: f"{address}#{token}" for name, token in tokens.items()})

        with suppress(KeyboardInterrupt):
            drive(serve(desk, tokens, run=folder.name, host=host, port=port, on_up=up), store)
        return api.finish(store, folder)


def new_tokens(annotators: tuple[str, ...]) -> dict[str, str]:
    return {name: secrets.token_urlsafe(18) for name in annotators}


async def serve(
    desk: Desk, tokens: Mapping[str, str], *, run: str, host: str, port: int, on_up: Callable[[str], None]
) -> None:
    """Serve until cancelled. on_up: told the page's address. Raises MachineError where the port cannot be had."""
    runner = web.AppRunner(make_app(desk, tokens, run=run), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise MachineError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
        on_up(f"http://{host}:{runner.addresses[0][1]}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
