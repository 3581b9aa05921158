"""The contenders of `engine.py`, each in a process of its own: `contenders.py NAME URL IN_FLIGHT WORK N_PAIRS`.

Each prints one line of JSON: CPU seconds of the measured part and peak memory. None imports what another one needs.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ANSWER_MARK = "@@ANSWER@@"
Messages = list[dict[str, str]]
BEGUN = {"cpu_s": 0.0}


def begin() -> None:
    """What was imported and prepared before is not measured."""
    BEGUN["cpu_s"] = time.process_time()


def judge_messages(template: Messages, answer: str) -> Messages:
    return [{**message, "content": message["content"].replace(ANSWER_MARK, answer)} for message in template]


async def hold(pair: dict[str, Any], ask: Any) -> None:
    """The two rounds of a pair, each answer judged; `ask(messages)` gives the answer's text."""
    talk: Messages = []
    for prompt, template in zip((pair["question"], pair["follow_up"]), pair["judge"], strict=True):
        talk.append({"role": "user", "content": prompt})
        answer = await ask(talk)
        await ask(judge_messages(template, answer))
        talk.append({"role": "assistant", "content": answer})


async def hold_all(pairs: list[dict[str, Any]], in_flight: int, ask: Any) -> None:
    todo = iter(pairs)

    async def worker() -> None:
        for pair in todo:
            await hold(pair, ask)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def bare_aiohttp(url: str, in_flight: int, pairs: list[dict[str, Any]]) -> None:
    import aiohttp

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(messages: Messages) -> str:
                body = json.dumps({"model": "bench", "messages": messages}, ensure_ascii=False).encode()
                headers = {"Content-Type": "application/json"}
                async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as response:
                    return str(json.loads(await response.read())["choices"][0]["message"]["content"])

            await hold_all(pairs, in_flight, ask)

    begin()
    asyncio.run(main())


def openai_sdk(url: str, in_flight: int, pairs: list[dict[str, Any]]) -> None:
    from openai import AsyncOpenAI

    async def main() -> None:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        async def ask(messages: Any) -> str:
            reply = await client.chat.completions.create(model="bench", messages=messages)
            return reply.choices[0].message.content or ""

        await hold_all(pairs, in_flight, ask)

    asyncio.run(main())


def scsafety(url: str, in_flight: int, pairs: list[dict[str, Any]]) -> None:
    """A whole sitting: half of the calls in flight for the target, half for the judge."""
    from scsafety import api
    from scsafety.engine.settings import Policy
    from scsafety.engine.sitting import Watch, drive, hold_sitting
    from scsafety.store import Store

    policy = Policy(concurrency=in_flight * 32 // 64, judge_concurrency=in_flight - in_flight * 32 // 64)
    with tempfile.TemporaryDirectory() as folder:
        n_bank = len({pair["question"] for pair in pairs})
        planned = api.plan(
            "openai-compatible/bench", base_url=f"{url}/v1", judge="openai-compatible/judge", judge_base_url=f"{url}/v1",
            benign=False, epochs=len(pairs) // n_bank, out=folder,
        )  # fmt: skip
        with Store.create(planned.folder / "run.db", {}, planned.items[:n_bank]) as store:
            begin()
            drive(hold_sitting(store, planned.settings, policy, Watch()), store, in_flight=policy.in_flight)


def inspect_ai(url: str, in_flight: int, pairs: list[dict[str, Any]]) -> None:
    """Its own task: a solver that asks both rounds, a scorer that asks the judge about each."""
    os.environ |= {"BENCH_API_KEY": "none", "BENCH_BASE_URL": f"{url}/v1"}
    from inspect_ai import Task, eval  # noqa: A004 (its name)
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
    from inspect_ai.scorer import Score, mean, scorer
    from inspect_ai.solver import solver

    @solver
    def two_rounds() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            state = await generate(state)
            state.metadata["answers"] = [state.output.completion]
            state.messages.append(ChatMessageUser(content=state.metadata["follow_up"]))
            state = await generate(state)
            state.metadata["answers"].append(state.output.completion)
            return state

        return solve

    @scorer(metrics=[mean()])
    def judged() -> Any:
        judge = get_model("openai-api/bench/judge", config=GenerateConfig(max_connections=in_flight // 2))

        async def score(state: Any, target: Any) -> Any:  # noqa: ARG001 (its signature)
            total = 0
            for template, answer in zip(state.metadata["judge"], state.metadata["answers"], strict=True):
                system, user = judge_messages(template, answer)
                reply = await judge.generate(f"{system['content']}\n\n{user['content']}")
                total += json.loads(reply.completion)["score"]
            return Score(value=total)

        return score

    samples = [Sample(input=p["question"], metadata={"follow_up": p["follow_up"], "judge": p["judge"]}) for p in pairs]
    with tempfile.TemporaryDirectory() as folder:
        begin()
        logs = eval(
            Task(dataset=MemoryDataset(samples), solver=two_rounds(), scorer=judged()),
            model="openai-api/bench/bench", max_connections=in_flight // 2, max_samples=in_flight, log_dir=folder, display="none",
        )  # fmt: skip
        if logs[0].status != "success":
            raise SystemExit(f"Inspect AI ended with {logs[0].status}: {logs[0].error}")


def evalscope(url: str, in_flight: int, pairs: list[dict[str, Any]]) -> None:
    """Its own adapter: inference asks both rounds, scoring asks the judge about each; threads as it has them."""
    from evalscope import TaskConfig, run_task
    from evalscope.api.benchmark import BenchmarkMeta, DefaultDataAdapter
    from evalscope.api.dataset import DatasetDict, MemoryDataset, Sample
    from evalscope.api.messages import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser
    from evalscope.api.metric import Score
    from evalscope.api.model import GenerateConfig, get_model
    from evalscope.api.registry import register_benchmark

    sampling = GenerateConfig(batch_size=in_flight // 2)
    judge = get_model(model="judge", eval_type="openai_api", base_url=f"{url}/v1", api_key="none", config=sampling)

    @register_benchmark(
        BenchmarkMeta(
            name="bench",
            pretty_name="bench",
            description="two rounds, judged",
            dataset_id="bench",
            metric_list=["acc"],
            eval_split="test",
            prompt_template="{question}",
        )
    )
    class Adapter(DefaultDataAdapter):  # type: ignore[misc, unused-ignore]
        def load(self) -> Any:
            samples = [
                Sample(input=[ChatMessageUser(content=p["question"])], target="", id=k, metadata={"k": k})
                for k, p in enumerate(pairs)
            ]
            return DatasetDict({"default": MemoryDataset(samples)}), None

        def _on_inference(self, model: Any, sample: Any) -> Any:
            first = model.generate(input=sample.input)
            sample.metadata["first"] = first.completion
            follow_up = ChatMessageUser(content=pairs[sample.metadata["k"]]["follow_up"])
            return model.generate(input=[*sample.input, ChatMessageAssistant(content=first.completion), follow_up])

        def match_score(self, *, original_prediction: str, task_state: Any, **_: Any) -> Any:
            about, total = task_state.metadata, 0
            answers = (about["first"], original_prediction)
            for template, answer in zip(pairs[about["k"]]["judge"], answers, strict=True):
                system, user = (message["content"] for message in judge_messages(template, answer))
                reply = judge.generate(input=[ChatMessageSystem(content=system), ChatMessageUser(content=user)])
                total += json.loads(reply.completion)["score"]
            return Score(value={"acc": total / 4}, main_score_name="acc", prediction=original_prediction)

    with tempfile.TemporaryDirectory() as folder:
        begin()
        run_task(
            TaskConfig(
                model="bench", api_url=f"{url}/v1", api_key="none", eval_type="openai_api", datasets=["bench"],
                eval_batch_size=in_flight, generation_config={"batch_size": in_flight}, work_dir=folder, no_timestamp=True,
            )
        )  # fmt: skip


CONTENDERS = {
    "evalscope": evalscope,
    "bare aiohttp": bare_aiohttp,
    "scsafety": scsafety,
    "openai SDK": openai_sdk,
    "Inspect AI": inspect_ai,
}


def main() -> None:
    name, url, in_flight, work, n_pairs = sys.argv[1:]
    bank = json.loads(Path(work).read_text(encoding="utf-8"))
    epochs = -(-int(n_pairs) // len(bank))
    pairs = bank[: int(n_pairs) // epochs] * epochs
    CONTENDERS[name](url, int(in_flight), pairs)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": time.process_time() - BEGUN["cpu_s"], "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
