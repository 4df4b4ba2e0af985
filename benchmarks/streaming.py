"""Latency of streaming answers from the LLM to subscribers, and latency of a page while answers stream.

The LLM is a server on this machine (``benchmarks/paced_llm.py``). Its first delta has the times when the request
arrived and when the delta was sent, so both directions can be measured separately, for Parley and for two bare clients
of the same LLM: LiteLLM, and an HTTP client. Rounds alternate between them. Parley's inbound time begins with the
mutation that sends the message: run, workspace, history and states are stored before the LLM is called.

Then Q1 is sent at a fixed rate, far below the server's capacity, in turn with ``STREAMS`` streaming conversations and
without. Each has a subscriber. The runs start before the measurement, and end after it.
"""

import asyncio
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt

from benchmarks import data
from benchmarks.answers import Answer, answers, ask
from benchmarks.load import Cores, Sent, send
from benchmarks.operations import OPERATIONS, Subject
from benchmarks.servers import PARLEY, SECRET, Running, Server, on, running

ROUNDS = int(os.environ.get("ROUNDS", "7"))
ANSWERS = int(os.environ.get("ANSWERS", "10"))
STREAMS = int(os.environ.get("STREAMS", "100"))
PIECES_PER_SECOND = int(os.environ.get("PIECES_PER_SECOND", "30"))
SECONDS = float(os.environ.get("SECONDS", "2"))
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "100000"))
RATE = float(os.environ.get("RATE", "500"))
CONNECTIONS = 4
WAIT_SECONDS = 60.0
# Answers whose first delta is measured: three deltas, 10 ms before each, without waiting for other requests.
SHORT = "3 10 1"
# Seconds after an answer, for work that the server does after sending it.
PAUSE_SECONDS = 0.02
# Seconds to settle after all streams have started, and after all have ended.
SETTLING_SECONDS = 0.5
# Streams are another caller's than the conversations that are read, of which thousands are running.
STREAMER = "streamer"

SETTINGS = """mutation ($url: URI!) { updateSettings(input: {
  llmModel: "openai/paced", llmBaseUrl: $url, llmApiKey: "benchmark-key"
}) { userErrors { __typename ... on UserError { message } } } }"""


@dataclass
class First:
    """Latencies of first deltas in milliseconds: from the mutation to the LLM (``before``), and back (``after``)."""

    before: list[float] = field(default_factory=list[float])
    after: list[float] = field(default_factory=list[float])

    def note(self, asked_ns: int, text: str, arrived_ns: int) -> None:
        """Record the latencies of one answer, from its first delta."""
        requested, sent = map(int, text.split()[:2])
        self.before.append((requested - asked_ns) / 1e6)
        self.after.append((arrived_ns - sent) / 1e6)


@dataclass(frozen=True)
class Beside:
    """One round of Q1 without and with streams; ``cpu`` is the server's share of a processor with streams."""

    idle: Sent
    streaming: Sent
    cpu: float
    messages: float

    @property
    def ratio(self) -> float:
        """Ratio of the 99th percentiles, with streams to without."""
        return self.streaming.percentile(0.99) / self.idle.percentile(0.99)


Take = Callable[[First], Awaitable[None]]


def main() -> None:
    """Measure and print."""
    cores = Cores.of_machine()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        file = data.sqlite_file(CONVERSATIONS)
        database = data.copy_of(file, directory / "parley.db")
        parley = stack.enter_context(running(_server(), str(database), directory / "parley", cores))
        stack.enter_context(on(cores.load))
        llm = stack.enter_context(_process("benchmarks.paced_llm"))
        asyncio.run(_first_pieces(parley, _line(llm)))
        _yield_to_load(llm)
        _pages(parley, data.subjects(file, have_events=False))


def _server() -> Server:
    environment = {
        "PARLEY_LLM_PRIVATE_BASE_URLS": "true",
        "PARLEY_MAX_CONCURRENT_CONVERSATIONS": "1000",
        "PARLEY_MAX_CONNECTIONS_PER_CALLER": "10000",
    }
    return replace(PARLEY, environment={**PARLEY.environment, **environment})


def _token() -> str:
    claims = {"sub": STREAMER, "exp": datetime.now(UTC) + timedelta(hours=2)}
    return jwt.encode(claims, SECRET, "HS256")


@contextmanager
def _process(module: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Run a module as a process that reads and prints lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def _yield_to_load(process: subprocess.Popen[str]) -> None:
    """Give the process idle priority, so that the load on the same processor never waits for it."""
    os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark ended")
    return line.strip()


async def _first_pieces(parley: Running, llm: str) -> None:
    headers = {"authorization": f"Bearer {_token()}"}
    litellm = await asyncio.to_thread(_litellm)
    async with (
        httpx.AsyncClient(base_url=parley.url, headers=headers, timeout=WAIT_SECONDS) as http,
        httpx.AsyncClient(base_url=llm, timeout=WAIT_SECONDS) as direct,
    ):
        await ask(http, SETTINGS, url=llm)
        async with answers(parley.url, _token(), 1) as [answer]:
            clients: dict[str, Take] = {
                "bare HTTP": lambda first: _by_http(direct, first),
                "LiteLLM": lambda first: _by_litellm(litellm, llm, first),
                "Parley": lambda first: _by_parley(answer, first),
            }
            rounds = [await _round(clients) for _ in range(ROUNDS + 1)]
    _print_first_pieces(rounds[1:])


async def _round(clients: Mapping[str, Take]) -> dict[str, First]:
    firsts = {name: First() for name in clients}
    for name, take in clients.items():
        for _ in range(ANSWERS):
            await take(firsts[name])
            await asyncio.sleep(PAUSE_SECONDS)
    return firsts


async def _by_http(http: httpx.AsyncClient, first: First) -> None:
    asked, is_first = time.time_ns(), True
    body = {"model": "paced", "messages": [{"role": "user", "content": SHORT}], "stream": True}
    async with http.stream("POST", "chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if is_first and line.startswith("data: {"):
                text = json.loads(line[6:])["choices"][0]["delta"]["content"]
                if text:
                    first.note(asked, text, time.time_ns())
                    is_first = False


async def _by_litellm(litellm: Any, url: str, first: First) -> None:
    asked, is_first = time.time_ns(), True
    messages = [{"role": "user", "content": SHORT}]
    stream = await litellm.acompletion(
        model="openai/paced", messages=messages, stream=True, api_base=url, api_key="benchmark-key"
    )
    async with aclosing(stream):
        async for chunk in stream:
            text = chunk.choices[0].delta.content if chunk.choices else None
            if is_first and text:
                first.note(asked, text, time.time_ns())
                is_first = False


async def _by_parley(answer: Answer, first: First) -> None:
    asked = time.time_ns()
    await answer.ask(SHORT)
    first.note(asked, await answer.begun(), answer.arrived_ns)
    await answer.ended()


def _litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    # The same setting as Parley's.
    litellm.disable_aiohttp_transport = True
    return litellm


def _print_first_pieces(rounds: Sequence[Mapping[str, First]]) -> None:
    print(f"streaming: the first piece of an answer, {ROUNDS} interleaved rounds of {ANSWERS} answers, in milliseconds")
    titles = ("in p50", "in p99", "out p50", "out p99", "adds p50", "adds p99")
    print(f"{'client':<12}" + "".join(f"{title:>10}" for title in titles))
    for name in rounds[0]:
        figures: list[list[float]] = []
        for firsts in rounds:
            mine, bare = firsts[name], firsts["bare HTTP"]
            before, after, least = (
                [_percentile(times, share) for share in (0.5, 0.99)] for times in (mine.before, mine.after, bare.after)
            )
            figures.append([*before, *after, after[0] - least[0], after[1] - least[1]])
        medians = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:<12}" + "".join(f"{figure:>10.2f}" for figure in medians), flush=True)


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _pages(parley: Running, subjects: Sequence[Subject]) -> None:
    numbers = itertools.count()

    def measure() -> Sent:
        requested = [
            parley.server.request(OPERATIONS["q1"], subjects, next(numbers)) for _ in range(int(RATE * SECONDS) + 1)
        ]
        requests = [request.encode(parley.headers()) for request in requested]
        return send(parley.port, requests, connections=CONNECTIONS, seconds=SECONDS, rate=RATE)

    # Streams last a second longer than the measurement.
    pieces = int((SECONDS + SETTLING_SECONDS + 1) * PIECES_PER_SECOND)
    rounds: list[Beside] = []
    with _process("benchmarks.answers", parley.url, _token(), str(STREAMS)) as crowd:
        assert crowd.stdin is not None
        _yield_to_load(crowd)
        assert _line(crowd) == "ready"
        for _ in range(ROUNDS + 1):
            idle = measure()
            crowd.stdin.write(f"{pieces} {1000 // PIECES_PER_SECOND} {STREAMS}\n")
            crowd.stdin.flush()
            assert _line(crowd) == "streaming"
            time.sleep(SETTLING_SECONDS)
            cpu = parley.cpu_seconds()
            streaming = measure()
            cpu = parley.cpu_seconds() - cpu
            messages = int(_line(crowd).removeprefix("ended ")) / STREAMS
            rounds.append(Beside(idle, streaming, cpu / streaming.seconds, messages))
            time.sleep(SETTLING_SECONDS)
    _print_pages(rounds[1:], pieces)


def _print_pages(rounds: Sequence[Beside], pieces: int) -> None:
    print(
        f"streaming: Q1 {RATE:g} times a second beside {STREAMS} answers of {PIECES_PER_SECOND} pieces a second, "
        f"{ROUNDS} interleaved rounds, in milliseconds"
    )
    print(f"{'streams':<12}{'p50':>10}{'p99':>10}{'most':>10}")
    for name, sents in (("none", [each.idle for each in rounds]), (str(STREAMS), [each.streaming for each in rounds])):
        p50, p99 = (statistics.median(sent.percentile(share) for sent in sents) for share in (0.5, 0.99))
        print(f"{name:<12}{p50:>10.2f}{p99:>10.2f}{max(sent.milliseconds[-1] for sent in sents):>10.2f}")
    ratios = sorted(each.ratio for each in rounds)
    cpu, messages = (statistics.median(column) for column in zip(*((e.cpu, e.messages) for e in rounds), strict=True))
    print(
        f"p99 with streams to p99 without: {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}); "
        f"CPU {cpu:.0%}; {pieces} pieces came in {messages:.0f} messages",
        flush=True,
    )
