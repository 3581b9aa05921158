"""Replay of what endpoints answer: each body is read as an answer, a block or the right kind of failure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scsafety.targets.outcomes import Outcome, OutcomeKind, read_response
from scsafety.targets.providers import find_provider, providers

if TYPE_CHECKING:
    from scsafety.records import Side

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z
KINDS_WITH_A_REPLY = ("answered", "blocked", "empty")


def read(
    provider_id: str, status: int, body: Any, headers: dict[str, str] | None = None, *, now: float = NOW
) -> Outcome:
    provider = find_provider(provider_id)
    assert provider is not None
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode()
    return read_response(provider, status, headers or {}, body, now=now)


def error(message: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def completion(content: Any, finish: str | None = "stop", /, *, top: Any = None, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "m-2026-11",
        "system_fingerprint": "fp_1",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5},
        **(top or {}),
    }


DEEPSEEK = "Content Exists Risk"
AZURE = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify"
    " your prompt and retry."
)
STEPFUN = "The content you provided or machine outputted is blocked."
MOONSHOT = "The request was rejected because it was considered high risk"
ZHIPU = "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。"


def zhipu(role: str) -> dict[str, Any]:
    return {"contentFilter": [{"level": 1, "role": role}], **error(ZHIPU, code="1301")}


BLOCKS: list[tuple[str, str, int, Any, Side, str]] = [
    (
        "deepseek: only the message tells it from a mistake",
        "deepseek",
        400,
        error(DEEPSEEK, type="invalid_request_error", param=None, code="invalid_request_error"),
        "unknown",
        "",
    ),
    ("deepseek: the older shape", "deepseek", 400, {"detail": DEEPSEEK}, "unknown", ""),
    (
        "dashscope: the question",
        "dashscope",
        400,
        error(
            "Input data may contain inappropriate content.",
            type="data_inspection_failed",
            code="data_inspection_failed",
            param=None,
        ),
        "input",
        "",
    ),
    (
        "dashscope: the answer",
        "dashscope",
        400,
        error("Output data may contain inappropriate content.", code="data_inspection_failed"),
        "output",
        "",
    ),
    (
        "dashscope: the native shape",
        "dashscope",
        400,
        {
            "code": "DataInspectionFailed",
            "message": "Output data may contain inappropriate content.",
            "request_id": "r",
        },
        "output",
        "",
    ),
    (
        "dashscope: the newer text",
        "dashscope",
        400,
        error(
            "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.",
            code="invalid_parameter_error",
        ),
        "input",
        "",
    ),
    (
        "dashscope: input or output is no side",
        "dashscope",
        400,
        error("Input or output data may contain inappropriate content.", code="data_inspection_failed"),
        "unknown",
        "",
    ),
    (
        "a middle layer that makes it a 500",
        "openai-compatible",
        500,
        error("upstream: Output data may contain inappropriate content."),
        "output",
        "",
    ),
    ("a middle layer that makes it a 418, as text", "openai-compatible", 418, "400 Content Exists Risk", "unknown", ""),
    ("zhipu: the question", "zhipu", 400, zhipu("user"), "input", ""),
    ("zhipu: the answer", "zhipu", 400, zhipu("assistant"), "output", ""),
    ("zhipu: no role", "zhipu", 400, error("blocked", code=1301), "unknown", ""),
    ("zhipu: finish reason sensitive", "zhipu", 200, completion("前半句", "sensitive"), "output", "前半句"),
    ("plain content_filter with partial text", "openai", 200, completion("half", "content_filter"), "output", "half"),
    ("plain content_filter without text", "baichuan", 200, completion(None, "content_filter"), "output", ""),
    ("finish reasons in capitals", "gemini", 200, completion("", "SAFETY"), "output", ""),
    ("anthropic's refusal", "anthropic", 200, completion("", "refusal"), "output", ""),
    ("ark: partial text", "ark", 200, completion("一半", "content_filter"), "output", "一半"),
    (
        "openai: a refusal's words are kept",
        "openai",
        200,
        completion(None, "stop", refusal="I can't help with that."),
        "output",
        "I can't help with that.",
    ),
    (
        "openai: invalid_prompt",
        "openai",
        400,
        error("Invalid prompt: usage policy", code="invalid_prompt"),
        "unknown",
        "",
    ),
    ("openai: cyber_policy", "openai", 400, error("no", code="cyber_policy"), "unknown", ""),
    (
        "openai: blocked by its message",
        "openai",
        400,
        error("This request has been blocked by our safety system.", type="invalid_request_error"),
        "unknown",
        "",
    ),
    (
        "azure: 400 with its inner error",
        "azure-openai",
        400,
        error(
            AZURE,
            code="content_filter",
            param="prompt",
            type=None,
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
            },
        ),
        "input",
        "",
    ),
    (
        "anthropic: its native error",
        "anthropic",
        400,
        error("Output blocked by content filtering policy"),
        "output",
        "",
    ),
    (
        "moonshot",
        "moonshot",
        400,
        error(MOONSHOT, type="content_filter", param="prompt", code=400),
        "input",
        "",
    ),
    ("moonshot: no parameter", "moonshot", 400, error(MOONSHOT, type="content_filter"), "unknown", ""),
    (
        "minimax: 200 and 1027",
        "minimax",
        200,
        {"base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}},
        "output",
        "",
    ),
    (
        "minimax: 200 and 1026 as text",
        "minimax",
        200,
        {"choices": None, "base_resp": {"status_code": "1026"}},
        "input",
        "",
    ),
    (
        "minimax: 422",
        "minimax",
        422,
        error("input new_sensitive (1026)", type="unprocessable_entity_error"),
        "input",
        "",
    ),
    (
        "minimax: output_sensitive with text",
        "minimax",
        200,
        completion("半句", "stop", top={"output_sensitive": True, "base_resp": {"status_code": 0, "status_msg": ""}}),
        "output",
        "半句",
    ),
    (
        "minimax: input_sensitive",
        "minimax",
        200,
        {"choices": [], "input_sensitive": True, "input_sensitive_type": 3, "base_resp": {"status_code": 0}},
        "input",
        "",
    ),
    ("qianfan: unsafe_request", "qianfan", 400, error("...", type="unsafe_request"), "unknown", ""),
    ("hunyuan: sensitive", "hunyuan", 200, completion("", "sensitive"), "output", ""),
    ("ark: severe", "ark", 400, error("no", code="SensitiveContentDetected.SevereViolation"), "unknown", ""),
    (
        "ark: the question",
        "ark",
        400,
        error("The request failed", code="InputTextSensitiveContentDetected.PolicyViolation", type="BadRequest"),
        "input",
        "",
    ),
    ("ark: the answer's risk", "ark", 400, error("Label: x", code="OutputTextRiskDetection"), "output", ""),
    ("spark: the question, as a 500", "spark", 500, error("err", code="10013"), "input", ""),
    ("spark: the answer, in a 200", "spark", 200, {"code": 10014, "message": "no", "sid": "s"}, "output", ""),
    ("spark: the conversation", "spark", 503, {"header": {"code": 10019, "message": "x"}}, "unknown", ""),
    ("stepfun: 451", "stepfun", 451, error(STEPFUN, type="censorship_blocked"), "unknown", ""),
    ("451 alone", "openai-compatible", 451, "", "unknown", ""),
    (
        "stepfun behind a gateway",
        "openai-compatible",
        400,
        error(
            "Provider returned error",
            code=400,
            metadata={"raw": json.dumps(error(STEPFUN, type="censorship_blocked")), "provider_name": "StepFun"},
        ),
        "unknown",
        "",
    ),
    ("gemini: no candidates", "gemini", 200, {"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, "input", ""),
    ("a gateway's own code", "openai-compatible", 400, error("x", code="sensitive_words_detected"), "unknown", ""),
    (
        "a body quoted in a message",
        "openai-compatible",
        400,
        error(json.dumps(error("x", code="OutputTextSensitiveContentDetected"))),
        "output",
        "",
    ),
    ("sides that contradict each other", "minimax", 400, error("output new_sensitive", code=1026), "unknown", ""),
]


@pytest.mark.parametrize(
    ("provider", "status", "body", "side", "text"), [case[1:] for case in BLOCKS], ids=[case[0] for case in BLOCKS]
)
def test_a_vendors_block_is_data_with_its_side_and_partial_text(
    provider: str, status: int, body: Any, side: Side, text: str
) -> None:
    outcome = read(provider, status, body)

    assert outcome.kind == "blocked"
    assert outcome.reply is not None
    assert outcome.reply.blocked == side
    assert outcome.reply.content == text
    assert outcome.reply.raw is not None
    assert outcome.message
    assert outcome.retry_after_s is None


FAULTS: list[tuple[str, str, int, Any, OutcomeKind]] = [
    # limits and money, vendor by vendor
    ("openai's rate", "openai", 429, error("Rate limit reached", code="rate_limit_exceeded"), "rate_limited"),
    ("openai's quota by code", "openai", 429, error("...", code="insufficient_quota"), "quota"),
    ("openai's quota by text", "openai", 429, error("You exceeded your current quota, please check"), "quota"),
    ("anthropic's rate", "anthropic", 429, {"type": "error", **error("x", type="rate_limit_error")}, "rate_limited"),
    ("anthropic's overload", "anthropic", 529, error("Overloaded", type="overloaded_error"), "transient"),
    ("too large", "anthropic", 413, error("x", type="request_too_large"), "too_long"),
    (
        "gemini's minute limit speaks of quota too",
        "gemini",
        429,
        [error("You exceeded your current quota. Please retry in 22s", code=429, status="RESOURCE_EXHAUSTED")],
        "rate_limited",
    ),
    (
        "gemini's daily limit",
        "gemini",
        429,
        [error("Quota exceeded: GenerateRequestsPerDayPerProject", code=429, status="RESOURCE_EXHAUSTED")],
        "quota",
    ),
    ("gemini's key is a 400", "gemini", 400, [error("API key not valid. Please pass a valid API key.")], "refused_key"),
    ("deepseek's rate", "deepseek", 429, "", "rate_limited"),
    ("deepseek's balance", "deepseek", 402, error("Insufficient Balance", code="invalid_request_error"), "quota"),
    ("deepseek's parameters", "deepseek", 422, error("bad"), "bad_request"),
    ("deepseek's overload", "deepseek", 503, error("busy"), "transient"),
    ("deepseek's model", "deepseek", 400, error("Model Not Exist", code="invalid_request_error"), "not_found"),
    ("dashscope's rate", "dashscope", 429, {"code": "Throttling.RateQuota", "message": "x"}, "rate_limited"),
    ("dashscope's tokens", "dashscope", 429, error("x", code="Throttling.AllocationQuota"), "rate_limited"),
    ("dashscope's arrears", "dashscope", 400, error("Access denied", code="Arrearage"), "quota"),
    ("zhipu's concurrency", "zhipu", 429, error("并发过高", code="1302"), "rate_limited"),
    ("zhipu's overload", "zhipu", 429, error("x", code="1305"), "transient"),
    ("zhipu's daily limit", "zhipu", 429, error("x", code="1304"), "quota"),
    ("zhipu's arrears", "zhipu", 429, error("x", code="1113"), "quota"),
    (
        "zhipu's locked account",
        "zhipu",
        400,
        error("您的账户存在不安全或敏感内容，已锁定", code="1121"),
        "account_risk",
    ),
    ("zhipu's long prompt", "zhipu", 400, error("x", code="1261"), "too_long"),
    ("zhipu's network", "zhipu", 200, completion("半", "network_error"), "transient"),
    ("moonshot's quota", "moonshot", 403, error("x", type="exceeded_current_quota_error"), "quota"),
    ("moonshot's engine", "moonshot", 429, error("overloaded", type="engine_overloaded_error"), "transient"),
    ("moonshot's closed account", "moonshot", 403, error("x", type="access_terminated_error"), "account_risk"),
    (
        "minimax's rate in a 200",
        "minimax",
        200,
        {"base_resp": {"status_code": 1002, "status_msg": "rate"}},
        "rate_limited",
    ),
    ("minimax's balance is no 5xx", "minimax", 200, {"base_resp": {"status_code": 1008}}, "quota"),
    ("minimax's key", "minimax", 200, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "refused_key"),
    ("qianfan's rate in a 200", "qianfan", 200, error("x", code="rpm_rate_limit_exceeded"), "rate_limited"),
    ("qianfan's older rate", "qianfan", 200, {"error_code": 336501, "error_msg": "x"}, "rate_limited"),
    ("qianfan's total", "qianfan", 200, {"error_code": 19, "error_msg": "x"}, "quota"),
    ("hunyuan's rate", "hunyuan", 400, error("x", code="RequestLimitExceeded"), "rate_limited"),
    ("ark's rate", "ark", 429, error("x", code="AccountRateLimitExceeded", type="TooManyRequests"), "rate_limited"),
    ("ark's spending guard", "ark", 429, error("x", code="SetLimitExceeded", type="TooManyRequests"), "quota"),
    ("ark's arrears", "ark", 403, error("x", code="AccountOverdueError"), "quota"),
    ("ark's unopened model", "ark", 404, error("x", code="ModelNotOpen"), "not_found"),
    ("ark's checker failed", "ark", 400, error("sensitive", code="ContentSecurityDetectionError"), "transient"),
    ("spark's second", "spark", 500, error("x", code=11202), "rate_limited"),
    ("spark's volume", "spark", 500, error("x", code="11200"), "quota"),
    ("spark's service", "spark", 200, {"code": 10110, "message": "busy"}, "transient"),
    ("baichuan's rate", "baichuan", 429, error("too many"), "rate_limited"),
    ("baichuan's balance", "baichuan", 429, error("Insufficient account balance"), "quota"),
    ("stepfun's balance", "stepfun", 402, error("x"), "quota"),
    (
        "siliconflow's minute",
        "siliconflow",
        429,
        {"code": 50603, "message": "TPM limit reached", "data": None},
        "rate_limited",
    ),
    ("siliconflow's day", "siliconflow", 429, {"message": "RPD limit reached"}, "quota"),
    ("siliconflow's flat error", "siliconflow", 400, {"code": 20012, "message": "bad", "data": None}, "bad_request"),
    # numbers mean something at their own vendor only; words are passed on by gateways
    ("another's 1301", "openai-compatible", 400, error("x", code="1301"), "bad_request"),
    ("another's 1026", "deepseek", 500, error("x", code=1026), "transient"),
    ("another's 1008", "openai-compatible", 429, error("x", code=1008), "rate_limited"),
    ("another's words", "openai-compatible", 400, error("x", code="Arrearage"), "quota"),
    ("a gateway's balance", "openai-compatible", 403, error("用户余额不足"), "quota"),
    ("a gateway's model", "openai-compatible", 503, error("no channel", code="model_not_found"), "not_found"),
    # the status, when the body says nothing
    *((f"status {status}", "openai-compatible", status, {}, "refused_key") for status in (401, 403)),
    *(
        (f"status {status}", "openai-compatible", status, "", "transient")
        for status in (408, 409, 425, 500, 502, 503, 504, 529)
    ),
    ("status 402", "openai-compatible", 402, "{}", "quota"),
    ("status 404", "openai-compatible", 404, {"detail": "Not Found"}, "not_found"),
    ("status 429", "openai-compatible", 429, {"detail": "slow"}, "rate_limited"),
    *((f"status {status}", "openai-compatible", status, {}, "bad_request") for status in (301, 400, 405, 418, 422)),
    # shapes
    ("an error that is a text", "ollama", 404, {"error": "model 'x' not found, try pulling it first"}, "not_found"),
    (
        "top-level fields",
        "vllm",
        400,
        {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400},
        "bad_request",
    ),
    ("a status inside a 200", "openai-compatible", 200, error("slow", code=429), "rate_limited"),
    ("a key refused inside a 200", "openai-compatible", 200, error("no", code="401"), "refused_key"),
    (
        "a fault inside a choice",
        "openai-compatible",
        200,
        {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "x"}}]},
        "transient",
    ),
    ("no choices", "openai", 200, completion("x", top={"choices": []}), "transient"),
    ("no choices at all", "openai", 200, {"id": "x"}, "transient"),
    ("an unknown error in a 200", "openai-compatible", 200, {"error": "the request is malformed"}, "bad_request"),
    ("a passing error in a 200", "openai-compatible", 200, {"error": "server overloaded"}, "transient"),
    ("a web page", "openai-compatible", 200, "<!doctype html><title>Hello</title>considered high risk", "transient"),
    ("a web page with 502", "openai-compatible", 502, "<html><h1>502 Bad Gateway</h1></html>", "transient"),
    ("a web page about risk", "openai-compatible", 403, "<html>considered high risk</html>", "refused_key"),
    ("an empty 200", "openai-compatible", 200, b"", "transient"),
    ("blank lines only", "deepseek", 200, b"\n\n\n", "transient"),
    (
        "a cut answer that speaks of risk",
        "deepseek",
        200,
        b'{"choices":[{"message":{"content":"Content Exists Risk',
        "transient",
    ),
    ("a cut error", "deepseek", 400, b'{"error":{"message":"something', "transient"),
    ("a list", "openai-compatible", 200, [], "transient"),
    ("a list of numbers", "openai-compatible", 200, [1, 2], "transient"),
    ("a number", "openai-compatible", 200, "3", "transient"),
    ("null", "openai-compatible", 500, "null", "transient"),
    ("deep nesting", "openai-compatible", 200, "[" * 100_000, "transient"),
    ("bytes that are no text", "openai-compatible", 500, bytes(range(256)), "transient"),
]


@pytest.mark.parametrize(
    ("provider", "status", "body", "kind"), [case[1:] for case in FAULTS], ids=[f"{c[1]}: {c[0]}" for c in FAULTS]
)
def test_a_failure_is_of_the_kind_that_says_what_to_do(
    provider: str, status: int, body: Any, kind: OutcomeKind
) -> None:
    outcome = read(provider, status, body)

    assert outcome.kind == kind
    assert outcome.reply is None
    assert 0 < len(outcome.message) <= 300
    assert outcome.message.isprintable()


ANSWERS: list[tuple[str, str, Any, str, str | None]] = [
    ("plain", "openai", completion("你好"), "你好", None),
    ("cut by its limit", "openai", completion("你好", "length"), "你好", None),
    ("no finish reason", "openai", completion("你好", None), "你好", None),
    ("copyright is no safety block", "gemini", completion("词", "RECITATION"), "词", None),
    ("parts", "openai", completion([{"type": "text", "text": "你"}, "好", {"type": "image_url"}]), "你好", None),
    (
        "parts with thinking",
        "openai",
        completion(
            [{"type": "thinking", "thinking": [{"type": "text", "text": "想"}]}, {"type": "text", "text": "好"}]
        ),
        "好",
        "想",
    ),
    ("a number", "openai", completion(42), "42", None),
    ("reasoning beside it", "deepseek", completion("答", reasoning_content="想"), "答", "想"),
    ("reasoning, newer name", "vllm", completion("答", reasoning="想"), "答", "想"),
    ("reasoning inside it", "minimax", completion("<think>想</think>答"), "答", "想"),
    (
        "minimax's success",
        "minimax",
        completion("答", top={"base_resp": {"status_code": 0, "status_msg": ""}}),
        "答",
        None,
    ),
    (
        "minimax's flags",
        "minimax",
        completion("答", top={"input_sensitive": False, "output_sensitive": False}),
        "答",
        None,
    ),
    ("spark's success", "spark", completion("答", top={"code": 0, "message": "Success", "sid": "s"}), "答", None),
    (
        "zhipu's levels of a good answer",
        "zhipu",
        completion("答", top={"content_filter": [{"role": "user", "level": 3}]}),
        "答",
        None,
    ),
    (
        "an empty error",
        "openai-compatible",
        completion("答", top={"error": None, "code": "", "message": ""}),
        "答",
        None,
    ),
    ("an empty refusal", "vllm", completion("答", refusal=None, tool_calls=[]), "答", None),
    (
        "an answer that quotes a filter",
        "deepseek",
        completion("Content Exists Risk 是什么"),
        "Content Exists Risk 是什么",
        None,
    ),
    ("a line break in a string", "openai-compatible", '{"choices":[{"message":{"content":"a\nb"}}]}', "a\nb", None),
    (
        "half a surrogate pair",
        "openai-compatible",
        '{"choices":[{"message":{"content":"好\\ud83d"}}]}',
        "好\ufffd",
        None,
    ),
    (
        "something behind it",
        "openai-compatible",
        '{"choices":[{"message":{"content":"好"}}]}\n\ndata: [DONE]',
        "好",
        None,
    ),
    ("a completion's text", "openai-compatible", {"choices": [{"text": "好"}]}, "好", None),
]


@pytest.mark.parametrize(
    ("provider", "body", "text", "reasoning"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_an_answer_is_read_from_whatever_shape_it_has(
    provider: str, body: Any, text: str, reasoning: str | None
) -> None:
    outcome = read(provider, 200, body)

    assert outcome.kind == "answered"
    assert outcome.reply is not None
    assert outcome.reply.content == text
    assert outcome.reply.reasoning == reasoning
    assert outcome.reply.blocked is None
    assert outcome.reply.raw is None
    assert outcome.reply.content.encode()


@pytest.mark.parametrize(
    ("body", "finish", "reasoning"),
    [
        pytest.param(completion(None), "stop", None, id="null content"),
        pytest.param(completion(" \n"), "stop", None, id="blanks"),
        pytest.param(completion("", "length", reasoning_content="想"), "length", "想", id="all spent on thinking"),
        pytest.param(completion("<think>想不完", "length"), "length", "想不完", id="thinking never closes"),
        pytest.param(completion(None, "tool_calls", tool_calls=[{"id": "1"}]), "tool_calls", None, id="a tool call"),
        pytest.param({"choices": [{"finish_reason": "STOP"}]}, "stop", None, id="no message"),
        pytest.param({"choices": [{"finish_reason": "stop", "message": []}]}, "stop", None, id="an odd message"),
    ],
)
def test_no_text_and_no_block_is_empty_and_keeps_the_thinking(body: Any, finish: str, reasoning: str | None) -> None:
    outcome = read("openai", 200, body)

    assert outcome.kind == "empty"
    assert outcome.reply is not None
    assert outcome.reply.content == ""
    assert outcome.reply.finish_reason == finish
    assert outcome.reply.reasoning == reasoning


def test_blank_lines_a_mark_and_a_wrong_charset_do_not_hide_an_answer() -> None:
    body = json.dumps(completion("好"), ensure_ascii=False)

    for data in (b"\n\r\n \n" + body.encode(), b"\xef\xbb\xbf" + body.encode(), b"\n\xef\xbb\xbf" + body.encode()):
        outcome = read("deepseek", 200, data)
        assert outcome.reply is not None
        assert outcome.reply.content == "好"

    declared = read("deepseek", 200, body.encode("gb18030"), {"Content-Type": "application/json; charset=GBK"})
    assert declared.reply is not None
    assert declared.reply.content == "好"


@pytest.mark.parametrize("declared", ["", "; charset=utf-8", "; charset=klingon", "; charset=GBK"])
@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_charset_that_is_wrongly_declared_or_not_at_all_is_recognised(encoding: str, declared: str) -> None:
    said = "建议先和对方沟通；必要时咨询律师，OK？"
    body = json.dumps(completion(said), ensure_ascii=False)

    outcome = read("deepseek", 200, body.encode(encoding), {"Content-Type": f"application/json{declared}"})

    assert outcome.reply is not None
    assert outcome.reply.content == said


def test_a_few_bad_bytes_are_marked_and_the_rest_is_kept() -> None:
    body = json.dumps(completion("建议先和~对方沟通"), ensure_ascii=False).encode().replace(b"~", b"\xe4\xb8\xff")

    reply = read("deepseek", 200, body).reply

    assert reply is not None
    assert reply.content == "建议先和\ufffd\ufffd对方沟通"


OVERFLOWS: list[tuple[str, int, Any]] = [
    (
        "openai",
        400,
        error(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            code="context_length_exceeded",
            param="messages",
        ),
    ),
    ("vllm", 400, error("The decoder prompt (length 9000) is longer than the maximum model length of 8192.")),
    ("vllm", 400, error("This model's maximum context length is 16384 tokens. However, you requested 18225 tokens.")),
    ("sglang", 400, error("The input (9000 tokens) is longer than the model's context length (8192 tokens).")),
    ("sglang", 400, error("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).")),
    (
        "llamacpp",
        400,
        error("request (9412 tokens) exceeds the available context size (8192 tokens)", type="exceed_context_size_error"),
    ),
    ("llamacpp", 500, error("the request exceeds the available context size, try increasing it")),
    ("ollama", 400, {"error": "prompt too long; exceeded max context length by 12 tokens"}),
    ("anthropic", 400, error("prompt is too long: 213462 tokens > 200000 maximum")),
    ("gemini", 400, error("The input token count (40000) exceeds the maximum number of tokens allowed (32768).")),
    ("deepseek", 400, error("This model's maximum context length is 65536 tokens.", code="invalid_request_error")),
    (
        "dashscope",
        400,
        error("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
    ),
    ("zhipu", 400, error("Prompt 超长", code="1261")),
    ("zhipu", 200, completion("", "model_context_window_exceeded")),
    ("moonshot", 400, error("Invalid request: Your request exceeded model token limit: 8192 (requested: 9013)")),
    ("minimax", 200, {"base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"}}),
    ("qianfan", 400, error("Prompt tokens too long", code="336103")),
    ("spark", 500, error("x", code=10907)),
    ("siliconflow", 400, {"code": 20015, "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192)."}),
    ("ark", 400, error("Input length 140000 exceeds the maximum length 131072")),
    ("openai-compatible", 400, error("输入长度超过模型上限")),
    ("openai-compatible", 413, "<html><h1>413 Request Entity Too Large</h1></html>"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "status", "body"), OVERFLOWS)
def test_a_conversation_that_does_not_fit_the_context_has_a_kind_of_its_own(
    provider: str, status: int, body: Any
) -> None:
    outcome = read(provider, status, body)

    assert outcome.kind == "too_long"
    assert outcome.retry_after_s is None
    assert outcome.message


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "max_tokens is too large: 50000. This model supports at most 4096 completion tokens", "bad_request"),
        (400, "Range of max_tokens should be [1, 8192]", "bad_request"),
        (400, "temperature exceeds the maximum value 2", "bad_request"),
        (429, "Request too large: input tokens exceed the limit of tokens per minute", "rate_limited"),
        (503, "queue length exceeded, try again later", "transient"),
    ],
)
def test_what_only_sounds_like_it_is_no_overflow(status: int, said: str, kind: str) -> None:
    assert read("openai-compatible", status, error(said)).kind == kind


def test_a_reply_keeps_what_identifies_it() -> None:
    body = completion("好", "STOP", top={"usage": {"prompt_tokens": "12", "completion_tokens": 3.0}})
    reply = read("openai", 200, body, {"x-request-id": "from-header"}).reply

    assert reply is not None
    assert (reply.model, reply.request_id, reply.fingerprint) == ("m-2026-11", "chatcmpl-1", "fp_1")
    assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", 12, 3)


@pytest.mark.parametrize(
    "usage", [None, [], "many", {"prompt_tokens": -1, "completion_tokens": True}, {"prompt_tokens": "1e3"}]
)
def test_counts_that_are_none_are_none(usage: Any) -> None:
    reply = read("openai", 200, completion("好", top={"usage": usage, "model": 3, "id": None})).reply

    assert reply is not None
    assert (reply.model, reply.request_id, reply.prompt_tokens, reply.completion_tokens) == (None, None, None, None)


def test_the_request_id_comes_from_a_header_when_the_body_has_none() -> None:
    reply = read("stepfun", 451, error(STEPFUN), {"X-Request-Id": "r-1"}).reply

    assert reply is not None
    assert reply.request_id == "r-1"


def test_the_raw_body_of_a_block_is_kept_to_4000_characters() -> None:
    reply = read("deepseek", 400, error(DEEPSEEK + "长" * 9_000)).reply

    assert reply is not None
    assert reply.raw is not None
    assert len(reply.raw) == 4_000


def test_azure_letting_a_call_through_without_its_filter_is_noted() -> None:
    body = completion("好")
    body["choices"][0]["content_filter_results"] = {"error": {"code": "content_filter_error"}}
    outcome = read("azure-openai", 200, body)

    assert outcome.kind == "answered"
    assert "filter did not run" in outcome.message


def test_azure_detecting_without_filtering_is_an_answer() -> None:
    body = completion("好")
    body["choices"][0]["content_filter_results"] = {"jailbreak": {"detected": True, "filtered": False}}

    assert read("azure-openai", 200, body).kind == "answered"


@pytest.mark.parametrize(
    ("status", "body", "parameter"),
    [
        (
            400,
            error(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
                code="unsupported_parameter",
                param="max_tokens",
            ),
            "max_tokens",
        ),
        (400, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."), "max_tokens"),
        (400, error("invalid temperature: only 1 is allowed for this model"), "temperature"),
        (400, error("Unrecognized request argument supplied: seed"), "seed"),
        (400, error("x", param="thinking.type"), "thinking"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "seed"),
        (
            200,
            {"base_resp": {"status_code": 2013, "status_msg": "invalid params, temperature must be above 0"}},
            "temperature",
        ),
        (400, error("bad", param="messages[0].content"), None),
        (400, error("the temperature of this conversation is too high"), None),
        (404, error("x", param="max_tokens"), None),
    ],
)
def test_a_bad_request_names_the_parameter_that_can_be_left_out(status: int, body: Any, parameter: str | None) -> None:
    assert read("openai-compatible", status, body).parameter == parameter


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"Retry-After": "86400"}, 600.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 18 Nov 2026 11:07:10 GMT"}, 30.0),
        ({"Retry-After": "Wed, 18 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"X-RateLimit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 40)}, 40.0),
        ({"X-RateLimit-Reset": str((int(NOW) + 40) * 1000)}, 40.0),
        ({"x-ratelimit-reset-requests": "1m30.5s", "x-ratelimit-remaining-requests": "0"}, 90.5),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "8",
                "x-ratelimit-reset-tokens": "7s",
                "x-ratelimit-remaining-tokens": "0",
            },
            7.0,
        ),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "7s"}, 0.12),
        ({"anthropic-ratelimit-requests-reset": "2026-11-18T11:07:00Z"}, 20.0),
        ({"Retry-After": "Wed, 18 Nov 2030 11:07:10 GMT", "Date": "Wed, 18 Nov 2030 11:07:00 GMT"}, 10.0),
        ({"Retry-After": "Wed, 18 Nov 2020 11:07:10 GMT", "Date": "Wed, 18 Nov 2020 11:07:00 GMT"}, 10.0),
        ({"Retry-After": "3", "Date": "no date"}, 3.0),
    ],
)
def test_the_wait_that_an_endpoint_asks_for_is_read_from_its_headers(
    headers: dict[str, str], seconds: float | None
) -> None:
    outcome = read("openai", 429, error("slow down"), headers)

    assert outcome.kind == "rate_limited"
    assert outcome.retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_an_overload_is_waited_for_but_a_spent_quota_is_not() -> None:
    assert read("deepseek", 503, "", {"Retry-After": "5"}).retry_after_s == 5.0
    assert read("openai", 429, error("x", code="insufficient_quota"), {"Retry-After": "5"}).retry_after_s is None


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-planted0123456789.",
        "token 0123456789abcdef0123456789abcdef.plantedplanted01 is bad",
        "got 'Authorization: Bearer planted0123456789'",
    ],
)
def test_what_looks_like_a_key_is_not_repeated(said: str) -> None:
    outcome = read("openai", 401, error(said))

    assert outcome.kind == "refused_key"
    assert "planted" not in outcome.message
    assert "***" in outcome.message


def test_a_message_is_one_printable_line() -> None:
    outcome = read("openai", 400, error("a\n\tb\x1b[31m\u202e" + "长" * 400, code="odd"))

    assert outcome.message.startswith("odd: a b [31m 长")
    assert len(outcome.message) == 300
    assert outcome.message.isprintable()


@pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.id)
def test_nothing_that_any_endpoint_sends_raises(provider: Any) -> None:
    odd: list[Any] = [
        None,
        True,
        -1,
        1e400,
        "",
        "x",
        [],
        [None],
        {},
        {"x": None},
        [[{}]],
        "\ud800",
        {"error": {"error": {}}},
    ]
    fields = [
        "choices",
        "error",
        "code",
        "message",
        "detail",
        "base_resp",
        "header",
        "usage",
        "contentFilter",
        "promptFeedback",
        "id",
        "model",
        "type",
        "status",
        "error_code",
        "param",
        "metadata",
        "input_sensitive",
    ]
    bodies: list[Any] = [*odd]
    for value in odd:
        bodies += [{field: value} for field in fields]
        bodies += [{"error": {field: value}} for field in (*fields, "innererror")]
        bodies += [{"choices": [{field: value}]} for field in ("message", "finish_reason", "text", "error", "delta")]
        bodies += [{"choices": [{"message": {field: value}}]} for field in ("content", "refusal", "reasoning_details")]

    for status in (200, 400, 429, 500):
        for body in bodies:
            outcome = read_response(provider, status, {}, json.dumps(body).encode(), now=NOW)
            assert (outcome.reply is not None) == (outcome.kind in KINDS_WITH_A_REPLY)
            assert outcome.message or outcome.kind == "answered"
            assert outcome.message.encode().decode().isprintable()


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"code": "²", "message": "x"}}',
        '{"error": {"code": "%s", "message": "x"}}' % ("4" * 5_000),
        '{"error": {"code": %s, "message": "x"}}' % ("4" * 400),
        '{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": %s}}' % ("9" * 400),
    ],
    ids=["superscript", "long text", "big number", "big count"],
)
@pytest.mark.parametrize("status", [200, 400])
def test_numbers_out_of_bounds_are_no_accident(status: int, body: str) -> None:
    assert read("openai", status, body).message or "choices" in body


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("llamacpp", error("Loading model", type="unavailable_error", code=503)),
        ("xinference", {"detail": "Model is loading, please retry later: my-model"}),
    ],
)
def test_a_server_that_loads_its_model_is_told_from_an_address_where_nobody_is(provider: str, body: Any) -> None:
    outcome = read(provider, 503, body)

    assert (outcome.kind, outcome.unreachable, outcome.loading) == ("transient", True, True)
    assert not read(provider, 503, "no healthy upstream").loading
