"""An application behind plain HTTP, examined like a model: its file, its requests, its answers, its mistakes."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.errors import CallFailed, ConfigError, TargetStop
from scsafety.records import Message, Sampling
from scsafety.targets.application import application_file, resolve_application
from scsafety.targets.chat import ChatTarget, Limits
from scsafety.targets.keys import EnvironmentKeys
from tests.program import said, scsafety
from tests.scripted_server import ScriptedServer, default_answer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scsafety.targets.providers import Endpoint

TOKEN = "tok-planted-0123456789"
ENVIRON = {"SHOP_TOKEN": TOKEN, "SHOP_TENANT": "7"}
BODY = '{"query": {"text": "{prompt}", "history": "{messages}", "lang": "zh"}, "limit": "{max_tokens}"}'
TALK = (Message("system", "你是店员"), Message("user", "问"), Message("assistant", "答"), Message("user", "追问"))


class App(ScriptedServer):
    """Answers every request by `reply`, which is given the body; a JSON value, or a whole response."""

    def __init__(self, reply: Callable[[dict[str, Any]], Any], **given: Any) -> None:
        super().__init__(**given)
        self.reply = reply

    @property
    def url(self) -> str:
        return (
            f"{self.base_url}/chat/completions"  # the script's one route; nothing is cut from an application's address
        )

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        found = self.reply(body)
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)


def write(tmp_path: Path, url: str, body: str = BODY, answer: str = "data.reply", **fields: Any) -> Path:
    path = tmp_path / "shop.toml"
    headers = fields.pop("headers", {"Authorization": "Bearer {SHOP_TOKEN}"})
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"url": url, "answer": answer, **fields}.items()]
    heads = [f"{name} = {json.dumps(value)}" for name, value in headers.items()]
    path.write_text("\n".join([*lines, f"body = '''{body}'''", "[headers]", *heads]), encoding="utf-8")
    return path


def endpoint_of(path: Path, environ: dict[str, str] | None = None) -> Endpoint:
    return resolve_application(path, None, [EnvironmentKeys(ENVIRON if environ is None else environ)])


def ask(path: Path, messages: Sequence[Message] = TALK[1:2], sampling: Sampling | None = None, **limits: Any) -> Any:
    async def work() -> Any:
        async with aiohttp.ClientSession() as session:
            target = ChatTarget(endpoint_of(path), session, Limits(**limits), rng=random.Random(1))
            return await target.ask(messages, sampling or Sampling())

    return asyncio.run(work())


def plain(_: dict[str, Any]) -> dict[str, Any]:
    return {"code": 0, "data": {"reply": "好的", "thought": "想", "flagged": False}, "error": None}


def test_the_template_goes_out_filled_and_the_headers_come_from_the_environment(tmp_path: Path) -> None:
    with App(plain) as app:
        path = write(tmp_path, app.url, headers={"Authorization": "Bearer {SHOP_TOKEN}", "X-Tenant": "{SHOP_TENANT}"})
        reply = ask(path, TALK, Sampling(max_tokens=9))

        assert app.bodies == [
            {
                "query": {
                    "text": "追问",
                    "history": [{"role": message.role, "content": message.content} for message in TALK],
                    "lang": "zh",
                },
                "limit": 9,
            }
        ]
        assert app.headers[0]["Authorization"] == f"Bearer {TOKEN}"
        assert app.headers[0]["X-Tenant"] == "7"
    assert reply.content == "好的"
    assert TOKEN not in path.read_text()


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ('{"q": "{prompt}", "n": "{max_tokens}"}', {"q": "系统：你是店员\n\n用户：问\n\n助手：答\n\n用户：追问"}),
        ('{"q": "{prompt}", "s": "{system}"}', {"q": "用户：问\n\n助手：答\n\n用户：追问", "s": "你是店员"}),
        (
            '{"m": "{messages}", "s": "[{system}]"}',
            {"m": [{"role": message.role, "content": message.content} for message in TALK[1:]], "s": "[你是店员]"},
        ),
    ],
    ids=["all in the prompt", "system apart", "messages and system"],
)
def test_nothing_of_a_conversation_is_lost_or_sent_twice(body: str, sent: dict[str, Any], tmp_path: Path) -> None:
    with App(plain) as app:
        ask(write(tmp_path, app.url, body), TALK)

        assert app.bodies == [sent]


def test_a_placeholder_in_what_a_user_says_is_text(tmp_path: Path) -> None:
    with App(plain) as app:
        ask(
            write(tmp_path, app.url, '{"q": "<{prompt}>", "s": "{system}"}'),
            [Message("user", "{system} {messages} \\1")],
        )

        assert app.bodies == [{"q": "<{system} {messages} \\1>"}]


def test_reasoning_is_kept_apart_and_a_list_has_numbers(tmp_path: Path) -> None:
    with App(lambda _: {"choices": [{"said": "好", "why": "因为"}]}) as app:
        reply = ask(write(tmp_path, app.url, answer="choices.0.said", reasoning="choices.0.why"))

    assert (reply.content, reply.reasoning) == ("好", "因为")


@pytest.mark.parametrize(
    ("blocked", "status", "body", "content"),
    [
        ("data.flagged", 200, {"data": {"reply": "抱歉", "flagged": True}}, "抱歉"),
        ("data.flagged", 200, {"data": {"flagged": 1}}, ""),
        ("state=BLOCKED", 200, {"state": "blocked", "data": {"reply": ""}}, ""),
        ("state=blocked", 403, {"state": "blocked"}, ""),
    ],
)
def test_the_applications_own_filter_is_a_block_and_no_error(
    blocked: str, status: int, body: dict[str, Any], content: str, tmp_path: Path
) -> None:
    with App(lambda _: web.json_response(body, status=status)) as app:
        reply = ask(write(tmp_path, app.url, blocked=blocked))

        assert len(app.bodies) == 1
    assert (reply.blocked, reply.content) == ("unknown", content)
    assert json.loads(reply.raw) == body  # as received, not as translated


@pytest.mark.parametrize("flag", [False, 0, "", "false", "0", None])
def test_a_flag_that_says_no_is_no_block(flag: object, tmp_path: Path) -> None:
    with App(lambda _: {"data": {"reply": "好", "flagged": flag}}) as app:
        assert ask(write(tmp_path, app.url, blocked="data.flagged")).blocked is None


def test_an_error_in_a_success_is_read_like_any_other_and_tried_again(tmp_path: Path) -> None:
    answers = iter([{"problem": "server overloaded, try again later"}, {"problem": "", "data": {"reply": "好"}}])
    with App(lambda _: next(answers)) as app:
        reply = ask(write(tmp_path, app.url, error="problem"))

    assert (reply.content, reply.attempts) == ("好", 2)


def test_rate_limits_are_waited_for_as_everywhere(tmp_path: Path) -> None:
    answers = iter([web.json_response({}, status=429, headers={"Retry-After": "0.1"}), None])
    with App(lambda body: next(answers) or plain(body)) as app:
        assert ask(write(tmp_path, app.url)).retried == {"rate_limited": 1}


def test_an_empty_answer_is_an_empty_answer(tmp_path: Path) -> None:
    with App(lambda _: {"data": {"reply": None}}) as app:
        assert ask(write(tmp_path, app.url)).content == ""


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            {"code": 0, "data": {"text": "好", "id": 1}},
            "nothing stands there; the response has code, data.text, data.id",
        ),
        ({"data": {"reply": {"text": "好"}}}, "no text stands there; the response has data.reply"),
        ([], "nothing stands there; the response has nothing"),
    ],
)
def test_a_wrong_path_stops_the_run_with_what_the_response_has(body: object, problem: str, tmp_path: Path) -> None:
    with App(lambda _: web.json_response(body)) as app:
        path = write(tmp_path, app.url)
        with pytest.raises(TargetStop, match="check body and answer") as raised:
            ask(path)

        assert len(app.bodies) == 1
    assert f"{path}: answer = data.reply: {problem}" in str(raised.value)


def test_once_it_has_answered_a_response_that_does_not_fit_is_one_lost_turn(tmp_path: Path) -> None:
    answers = iter([plain({}), {"data": {}}])

    async def work(path: Path) -> None:
        async with aiohttp.ClientSession() as session:
            target = ChatTarget(endpoint_of(path), session, Limits())
            await target.ask(TALK[1:2], Sampling())
            await target.ask(TALK[1:2], Sampling())

    with App(lambda _: next(answers)) as app, pytest.raises(CallFailed, match=r"bad_request: .*nothing stands there"):
        asyncio.run(work(write(tmp_path, app.url)))


def test_a_web_page_in_place_of_json_is_said(tmp_path: Path) -> None:
    page = "<html><title>Log in</title></html>"
    with (
        App(lambda _: web.Response(text=page, content_type="text/html")) as app,
        pytest.raises(CallFailed, match=r"a web page \(Log in\) in place of JSON"),
    ):
        ask(write(tmp_path, app.url), max_attempts=1)


def test_a_refused_token_stops_and_names_its_variable_and_never_shows_it(tmp_path: Path) -> None:
    with (
        App(lambda _: web.json_response({"error": f"bad token {TOKEN}"}, status=401)) as app,
        pytest.raises(TargetStop, match="check SHOP_TOKEN in the environment") as raised,
    ):
        ask(write(tmp_path, app.url))

    assert TOKEN not in str(raised.value)


def test_an_address_where_nothing_is_is_looked_for_in_the_file(tmp_path: Path) -> None:
    with App(lambda _: web.json_response({}, status=404)) as app:
        path = write(tmp_path, app.url)
        with pytest.raises(TargetStop) as raised:
            ask(path)

    assert f"url in {path}" in str(raised.value)


def test_an_application_that_repeats_its_token_finds_it_masked(tmp_path: Path) -> None:
    with App(lambda _: {"data": {"reply": f"7 {TOKEN}"}}) as app:
        path = write(tmp_path, app.url, headers={"Authorization": "Bearer {SHOP_TOKEN}", "X-Tenant": "{SHOP_TENANT}"})

        assert ask(path).content == "7 ***"  # a tenant's number is no secret that could be masked


URL = "http://127.0.0.1:9/chat"
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"url": "shop.example"}, "url must be an http"),
    "a secret in the address": ({"url": "https://a.example/chat?key=1"}, "url holds a query"),
    "a name of two lines": ({"name": "a\nb"}, "name: 'a\\nb' cannot be printed"),
    "a field too many": ({"colour": "red"}, "colour"),
    "no JSON": ({"body": "{prompt}"}, "body: not JSON"),
    "no object": ({"body": '["{prompt}"]'}, "body: not a JSON object"),
    "no question": ({"body": '{"q": "hi"}'}, "neither {prompt} nor {messages}"),
    "a slip": ({"body": '{"q": "{promt}"}'}, "{promt} is no placeholder; there is {prompt}"),
    "messages in a text": ({"body": '{"q": "so: {messages}"}'}, "stands alone"),
    "no path": ({"answer": "data..reply"}, "answer: 'data..reply' is no path"),
    "a value in a header": ({"headers": {"Authorization": "Bearer abc"}}, "headers.Authorization: takes its value"),
    "a vendor's key": ({"headers": {"X-Key": "{OPENAI_API_KEY}"}}, "OPENAI_API_KEY is a vendor's key"),
    "a header of ours": ({"headers": {"Host": "{SHOP_TOKEN}"}}, "headers.Host"),
    "a missing variable": (
        {"headers": {"X-Key": "{SHOP_KEY}"}},
        "headers.X-Key: SHOP_KEY is not set: export SHOP_KEY=",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named_with_field_and_mend(name: str, tmp_path: Path) -> None:
    fields, problem = WRONG[name]
    path = write(tmp_path, **{"url": URL, **fields})

    with pytest.raises(ConfigError) as raised:
        endpoint_of(path, {**ENVIRON, "OPENAI_API_KEY": TOKEN})

    assert str(path) in str(raised.value)
    assert problem in str(raised.value)
    assert TOKEN not in str(raised.value)


def test_a_file_that_is_not_there_or_no_toml_and_an_address_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        endpoint_of(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("url = ")
    with pytest.raises(ConfigError, match="not TOML"):
        endpoint_of(tmp_path / "x.toml")
    with pytest.raises(ConfigError, match="is an address: write openai-compatible"):
        application_file("http://127.0.0.1/v1")
    assert application_file("openai/x") is None


@pytest.mark.parametrize("page", ["endpoints.md", "endpoints.zh-CN.md"])
def test_the_file_in_the_documents_is_one_that_is_read(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    path = tmp_path / "shop.toml"
    path.write_text(text.partition("```toml\n")[2].partition("```\n")[0], encoding="utf-8")

    endpoint = endpoint_of(path)

    assert endpoint.label == "http/shop-assistant"
    assert endpoint.form is not None
    assert endpoint.form.places == {"prompt", "messages", "max_tokens"}


def test_a_run_asks_both_rounds_resumes_and_holds_and_the_token_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    bank = write_bank(tmp_path / "bank.jsonl", [pair(k) for k in range(1, 4)])

    def answers(body: dict[str, Any]) -> dict[str, Any]:
        return {"data": {"reply": default_answer(body["query"]["history"])}}

    with App(answers) as app:
        model = f"http:{write(tmp_path, app.url)}"
        first = api.run(
            model, judge="offline-fast", bank=[bank], out=tmp_path, name="r", policy=Policy(max_calls=3, concurrency=1)
        )
        last = api.resume("r", out=tmp_path)

        assert (first.exit_code, last.exit_code) == (1, 0)
        assert len(app.bodies) == 6
        assert sum(len(body["query"]["history"]) for body in app.bodies) == 3 * (1 + 3)
    assert last.summary.target == model
    assert api.verify("r", out=tmp_path) == []
    kept = [path for path in (tmp_path / "r").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


def test_a_run_does_not_go_on_with_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1), pair(2)])
    with App(plain) as app:
        model = f"http:{write(tmp_path, app.url)}"
        api.run(model, judge="offline-fast", bank=[bank], out=tmp_path, name="r", policy=Policy(max_calls=1))
        write(tmp_path, app.url, body='{"query": {"text": "{prompt}"}}')
        with pytest.raises(ConfigError, match="has changed since this run began"):
            api.resume("r", out=tmp_path)


def test_doctor_and_the_command_line_know_it(tmp_path: Path) -> None:
    with App(plain) as app:
        path = write(tmp_path, app.url)
        found = scsafety("doctor", "--model", f"http:{path.name}", cwd=tmp_path, env=ENVIRON)
        missing = scsafety("run", "--model", f"http:{path.name}", cwd=tmp_path)

    assert "SHOP_TOKEN in the environment" in found.stdout
    assert "round 2" in found.stdout
    assert TOKEN not in found.stdout + found.stderr
    assert missing.returncode == 2
    assert "headers.Authorization: SHOP_TOKEN is not set" in said(missing)
