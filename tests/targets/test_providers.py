"""The table of providers, how a `provider/model` becomes an endpoint, and that a key is never shown."""

from __future__ import annotations

import copy
import pickle
import re
import traceback
from collections import Counter

import msgspec
import pytest

from scsafety.errors import ConfigError
from scsafety.targets.keys import Secret
from scsafety.targets.providers import (
    Endpoint,
    Provider,
    find_provider,
    host_is_vendors_own,
    is_loopback,
    providers,
    resolve,
)

KEY = "sk-planted-0123456789abcdef"
EXPECTED = [
    "deepseek",
    "dashscope",
    "zhipu",
    "moonshot",
    "minimax",
    "qianfan",
    "hunyuan",
    "ark",
    "spark",
    "baichuan",
    "yi",
    "stepfun",
    "siliconflow",
    "openai",
    "azure-openai",
    "anthropic",
    "gemini",
    "vllm",
    "sglang",
    "ollama",
    "llamacpp",
    "xinference",
    "openai-compatible",
]
every_provider = pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.id)


def environ_for(provider: Provider) -> dict[str, str]:
    environ = dict.fromkeys(provider.key_vars[:1], KEY)
    if provider.base_url_var:
        environ[provider.base_url_var] = "https://unit.openai.azure.com"
    return environ


def resolved(provider: Provider, model: str = "some-model") -> Endpoint:
    needs_url = provider.base_url is None and provider.base_url_var is None
    return resolve(
        f"{provider.id}/{model}",
        base_url="http://127.0.0.1:9/v1" if needs_url else None,
        environ=environ_for(provider),
    )


class TestTheTable:
    def test_it_holds_every_provider_once(self) -> None:
        assert [provider.id for provider in providers()] == EXPECTED

    def test_no_name_and_no_key_variable_belongs_to_two_providers(self) -> None:
        names = Counter(name for provider in providers() for name in (provider.id, *provider.aliases))
        variables = Counter(var for provider in providers() for var in provider.key_vars)

        assert [name for name, n in (names + variables).items() if n > 1] == []

    @every_provider
    def test_it_has_an_address_or_requires_one(self, provider: Provider) -> None:
        for url in (provider.base_url, *provider.other_base_urls.values()):
            assert url is None or re.fullmatch(r"https?://[\w.:-]+(/[\w./-]*[^/])?", url)
            assert url is None or provider.local or url.startswith("https://")
        if provider.base_url is None:
            environ = dict.fromkeys(provider.key_vars, KEY)
            with pytest.raises(ConfigError, match="--base-url"):
                resolve(f"{provider.id}/m", environ=environ)

    @every_provider
    def test_it_is_named_in_both_languages_and_says_how_sure_it_is(self, provider: Provider) -> None:
        assert provider.name_zh
        assert provider.name_en
        assert re.search(r"[\u4e00-\u9fff]", provider.note_zh)
        assert provider.note_en.isascii()
        assert len(provider.note_en) <= 120
        assert "\n" not in provider.note_zh + provider.note_en

    @every_provider
    def test_its_patterns_compile_and_its_codes_are_in_one_list_only(self, provider: Provider) -> None:
        for regex in (
            provider.quota_message_regex,
            provider.blocked_message_regex,
            *(m.match for m in provider.models),
        ):
            assert regex is None or re.compile(regex)
        codes = Counter(
            [
                *provider.vendor_codes,
                *provider.rate_codes,
                *provider.quota_codes,
                *provider.account_codes,
                *provider.key_codes,
                *provider.transient_codes,
                *provider.too_long_codes,
            ]
        )
        assert [code for code, n in codes.items() if n > 1] == []

    @every_provider
    def test_its_key_comes_from_its_own_variables_only(self, provider: Provider) -> None:
        others = {var: KEY for other in providers() if other is not provider for var in other.key_vars}
        base_url = "https://unit.openai.azure.com" if provider.base_url is None else None
        assert provider.key_vars

        if provider.key == "required":
            with pytest.raises(ConfigError) as caught:
                resolve(f"{provider.id}/m", base_url=base_url, environ=others)
            for var in provider.key_vars:
                assert var in str(caught.value)
        else:
            assert resolve(f"{provider.id}/m", base_url=base_url, environ=others).key is None
        for var in provider.key_vars:
            endpoint = resolve(f"{provider.id}/m", base_url=base_url, environ={**others, var: "its-own"})
            assert endpoint.key == Secret("its-own")

    @every_provider
    def test_it_resolves_by_its_id_and_each_alias(self, provider: Provider) -> None:
        endpoint = resolved(provider)

        assert endpoint.label == f"{provider.id}/some-model"
        assert endpoint.url.endswith("/chat/completions")
        for alias in provider.aliases:
            assert find_provider(alias.upper()) == provider


class TestModels:
    def test_the_models_part_may_contain_slashes(self) -> None:
        endpoint = resolve("siliconflow/Qwen/Qwen3-8B", environ={"SILICONFLOW_API_KEY": KEY})

        assert endpoint.model == "Qwen/Qwen3-8B"
        assert endpoint.label == "siliconflow/Qwen/Qwen3-8B"
        assert endpoint.url == "https://api.siliconflow.cn/v1/chat/completions"

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            ("deepsek/deepseek-v4", "did you mean deepseek/deepseek-v4"),
            ("azur/gpt", "did you mean azure/gpt"),
            ("loca/qwen2.5-coder-0.5b", "did you mean local/qwen2.5-coder-0.5b"),
            ("deepseek-v4-pro", "did you mean deepseek/deepseek-v4-pro"),
            ("qwen-max", "did you mean dashscope/qwen-max"),
            ("model.gguf", "did you mean gguf:model.gguf"),
            ("gpt-4o", "local/NAME or gguf:PATH"),
            ("nobody/knows", "local/NAME or gguf:PATH"),
            ("deepseek", "deepseek/MODEL"),
            ("kimi/", "moonshot/MODEL"),
            ("", "no model is named"),
            ("/x", "unknown provider"),
            ("local/qwen2.5-coder-0.5b", "embedded"),
            ("gguf:/models/a.gguf", "embedded"),
            ("openai/a\nb", "control character"),
        ],
    )
    def test_what_is_no_provider_and_model_is_refused_with_a_way_out(self, model: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            resolve(model, environ={})

        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("model", "field", "dropped"),
        [
            ("openai/gpt-4o", "max_tokens", False),
            ("openai/o3-mini", "max_completion_tokens", True),
            ("openai/gpt-5-mini", "max_completion_tokens", True),
            ("azure/team-gpt-5", "max_completion_tokens", True),
            ("azure/gpt-4o", "max_tokens", False),
            ("moonshot/kimi-k2.5", "max_tokens", True),
            ("moonshot/kimi-k2-0905-preview", "max_tokens", False),
            ("minimax/MiniMax-M2", "max_completion_tokens", False),
        ],
    )
    def test_the_rules_of_a_model_are_merged_into_its_provider(self, model: str, field: str, dropped: bool) -> None:
        provider = find_provider(model.partition("/")[0])
        assert provider is not None
        endpoint = resolve(model, environ=environ_for(provider))

        assert endpoint.provider.max_tokens_field == field
        assert ("temperature" in endpoint.provider.drop) is dropped

    @pytest.mark.parametrize(
        ("model", "extra"),
        [
            ("qwen3-32b", {"enable_thinking": False}),
            ("qwen3-235b-a22b-thinking-2507", {}),
            ("qwen-max", {}),
        ],
    )
    def test_hybrid_qwen3_is_asked_not_to_think_since_nothing_is_streamed(
        self, model: str, extra: dict[str, object]
    ) -> None:
        assert resolve(f"qwen/{model}", environ={"DASHSCOPE_API_KEY": KEY}).provider.extra == extra


class TestAddresses:
    @pytest.mark.parametrize(
        "given",
        [
            "https://proxy.example/v1",
            "https://proxy.example/v1/",
            " https://proxy.example/v1/chat/completions ",
            "https://proxy.example/v1/chat/completions/",
        ],
    )
    def test_a_given_address_replaces_the_providers_own(self, given: str) -> None:
        endpoint = resolve("deepseek/m", base_url=given, environ={"DEEPSEEK_API_KEY": KEY})

        assert endpoint.base_url == "https://proxy.example/v1"
        assert endpoint.url == "https://proxy.example/v1/chat/completions"
        assert not host_is_vendors_own(endpoint)

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "proxy.example/v1",
            "localhost:8000/v1",
            "ftp://proxy.example/v1",
            "file:///etc/passwd",
            "https://",
            "https://user:hunter2@proxy.example/v1",
            "https://hunter2@proxy.example/v1",
            "https://proxy.example/v1?key=hunter2",
            "https://proxy.example/v1#hunter2",
            "https://proxy.example:port/v1",
            "https://[::1/v1",
            "https://proxy.example/v 1",
            "https://proxy.example/v1\r\nX-Evil: hunter2",
            "https://proxy.example\\@hunter2/v1",
        ],
    )
    def test_an_address_that_cannot_be_used_is_refused_without_repeating_its_secrets(self, given: str) -> None:
        with pytest.raises(ConfigError) as caught:
            resolve("openai-compatible/m", base_url=given, environ={})

        assert "hunter2" not in "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize(
        ("base", "version", "url"),
        [
            ("https://r.openai.azure.com/", "", "https://r.openai.azure.com/openai/v1/chat/completions"),
            ("https://r.openai.azure.com/openai/v1/", "", "https://r.openai.azure.com/openai/v1/chat/completions"),
            ("https://r.openai.azure.com/openai", "v1", "https://r.openai.azure.com/openai/v1/chat/completions"),
            (
                "https://r.openai.azure.com",
                "2024-10-21",
                "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://r.openai.azure.com/openai/deployments/other",
                "2024-10-21",
                "https://r.openai.azure.com/openai/deployments/other/chat/completions?api-version=2024-10-21",
            ),
        ],
    )
    def test_azure_has_two_kinds_of_address(self, base: str, version: str, url: str) -> None:
        environ = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": base, "OPENAI_API_VERSION": version}
        endpoint = resolve("azure/my gpt", environ=environ)

        assert endpoint.url == url
        assert endpoint.provider.auth == "api-key"
        assert host_is_vendors_own(endpoint)

    def test_an_azure_deployment_without_a_version_names_the_variable(self) -> None:
        environ = {
            "AZURE_OPENAI_API_KEY": KEY,
            "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/openai/deployments/d",
        }
        with pytest.raises(ConfigError, match="OPENAI_API_VERSION"):
            resolve("azure/d", environ=environ)

    @every_provider
    def test_requests_go_to_the_vendor_itself_unless_told_otherwise(self, provider: Provider) -> None:
        assert host_is_vendors_own(resolved(provider)) is (provider.id != "openai-compatible")
        for url in provider.other_base_urls.values():
            endpoint = resolve(f"{provider.id}/m", base_url=url, environ=environ_for(provider))
            assert host_is_vendors_own(endpoint)

    @pytest.mark.parametrize(
        "base_url",
        ["https://evil-openai.azure.com.example/openai/v1", "https://openai.azure.com.evil.example/openai/v1"],
    )
    def test_a_host_that_only_looks_like_the_vendors_is_not(self, base_url: str) -> None:
        assert not host_is_vendors_own(resolve("azure/d", base_url=base_url, environ={"AZURE_OPENAI_API_KEY": KEY}))

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://127.0.0.1:1/v1", True),
            ("http://127.9.9.9/v1", True),
            ("http://localhost:1", True),
            ("http://[::1]:1/v1", True),
            ("http://10.0.0.1/v1", False),
            ("http://127.0.0.1.example.com/v1", False),
            ("https://localhost.example.com", False),
        ],
    )
    def test_loopback_is_told_by_the_address_as_written(self, url: str, expected: bool) -> None:
        assert is_loopback(url) is expected


class TestKeys:
    @pytest.mark.parametrize("base_url", ["http://127.0.0.1:8000/v1", "http://gpu.example:8000/v1"])
    def test_an_openai_compatible_endpoint_may_have_no_key(self, base_url: str) -> None:
        assert resolve("openai-compatible/m", base_url=base_url, environ={"OPENAI_API_KEY": KEY}).key is None

    def test_blanks_around_a_key_are_dropped_and_an_empty_variable_is_not_set(self) -> None:
        environ = {"ZHIPUAI_API_KEY": "  ", "ZHIPU_API_KEY": f" {KEY}\r\n"}

        assert resolve("glm/glm-4.6", environ=environ).key == Secret(KEY)

    @pytest.mark.parametrize(
        "key", ["sk-pla nted", "sk-pla\nnted", "sk-pla\x00nted", "sk-pla密nted", "sk-pla\u200bnted"]
    )
    def test_a_broken_key_is_refused_without_showing_it(self, key: str) -> None:
        with pytest.raises(ConfigError, match="DEEPSEEK_API_KEY") as caught:
            resolve("deepseek/m", environ={"DEEPSEEK_API_KEY": key})

        shown = "".join(traceback.format_exception(caught.value))
        assert "sk-pla" not in shown
        assert "nted" not in shown

    def test_a_key_is_shown_by_reveal_and_by_nothing_else(self) -> None:
        endpoint = resolve("deepseek/m", environ={"DEEPSEEK_API_KEY": KEY})
        secret = endpoint.key
        assert secret is not None
        assert secret.reveal() == KEY

        shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>9}", f"{secret:>9}", "%s" % secret]  # noqa: UP031
        shown += [repr(endpoint), str(endpoint), str(msgspec.structs.asdict(endpoint)), endpoint.label, endpoint.url]
        shown += [repr({"key": secret}), repr([secret]), repr(copy.deepcopy(secret))]

        assert not [text for text in shown if KEY in text]
        assert "***" in repr(endpoint)
        assert not hasattr(secret, "__dict__")

    def test_a_key_is_not_in_a_traceback_even_with_locals(self) -> None:
        endpoint = resolve("deepseek/m", environ={"DEEPSEEK_API_KEY": KEY})

        def fail(endpoint: Endpoint) -> None:
            key = endpoint.key
            raise ConfigError(f"{endpoint} with {key} does not work")

        with pytest.raises(ConfigError) as caught:
            fail(endpoint)

        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert KEY not in "".join(told.format())

    def test_a_key_cannot_be_encoded_or_pickled_by_accident(self) -> None:
        endpoint = resolve("deepseek/m", environ={"DEEPSEEK_API_KEY": KEY})

        for value in (endpoint, endpoint.key, {"key": endpoint.key}):
            for encode in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins, pickle.dumps):
                with pytest.raises(TypeError) as caught:
                    encode(value)
                assert KEY not in str(caught.value)
        assert KEY.encode() not in msgspec.json.encode({"key": endpoint.key}, enc_hook=str)

    def test_what_an_endpoint_says_is_masked_by_the_key_itself(self) -> None:
        assert Secret("app-id-01:secret-02").mask("bad secret-02 of app-id-01:secret-02") == "bad *** of ***"
        assert Secret("").mask("nothing") == "nothing"
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
