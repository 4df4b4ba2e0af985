"""Model servers that are strangers: where calls may go."""

import asyncio
import importlib
import math
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx
import pytest

from app.config import Config
from app.errors import ErrorCode, LLMFailure
from app.services.llm.litellm import LiteLLM
from app.services.llm.transport import (
    CallRefused,
    CheckedSyncTransport,
    CheckedTransport,
    Scope,
    within,
)
from tests.support.model_calls import answer_of, failure_of
from tests.support.scripted_llm import Reply, ScriptedLLM, raw

# Each has its own client in the library.
HANDLERS = ("openai", "deepseek", "groq", "openrouter", "mistral", "hosted_vllm", "anthropic", "ollama_chat")
_connected: list[tuple[object, ...]] = []
_is_listening = [False]


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and _is_listening[0] and isinstance(arguments[1], tuple):
        address = cast("tuple[object, ...]", arguments[1])
        _connected.append(address)
        if not str(address[0]).startswith(("127.", "::1")):
            # What a test calls stays on this machine.
            raise ConnectionRefusedError


@cache
def _begin_to_listen() -> None:
    sys.addaudithook(_listen)


@pytest.fixture
def connected(confined: LiteLLM) -> Iterator[list[tuple[object, ...]]]:
    """Each address that this process connects to, behind the guard: what that refuses is not among them."""
    assert confined.is_ready("openai/gpt-4o")
    _begin_to_listen()
    _connected.clear()
    _is_listening[0] = True
    yield _connected
    _is_listening[0] = False


async def service(*, private: bool) -> LiteLLM:
    config = Config(_env_file=None, llm_private_base_urls=private, llm_timeout_seconds=5.0)  # pyright: ignore[reportCallIssue]
    llm = LiteLLM(config, retry_pause_seconds=0.001)
    await llm.ready("openai/gpt-4o")
    return llm


@pytest.fixture
async def confined() -> AsyncIterator[LiteLLM]:
    found = await service(private=False)
    yield found
    await found.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("provider", HANDLERS)
async def test_no_redirect_is_followed(llm: LiteLLM, server: ScriptedLLM, provider: str, status: int) -> None:
    with ScriptedLLM() as secret:
        server.script(*[Reply(status=status, body={}, headers={"location": f"{secret.url}/chat/completions"})] * 3)
        failure = await failure_of(llm, f"{provider}/model", server.url)
        assert (len(server.requests), len(secret.requests)) == (1, 0)
    assert failure.message == "The model's server redirects to another address, where this server does not follow."
    assert failure.code is ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR


@pytest.mark.parametrize("provider", HANDLERS)
async def test_no_handler_calls_a_private_address(confined: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    failure = await failure_of(confined, f"{provider}/model", server.url)
    assert failure.message == "The address of 127.0.0.1 is private. This server calls public addresses only."
    assert len(server.requests) == 0


@pytest.mark.parametrize(
    "name", ["ollama", "ollama_chat", "llamafile", "lemonade", "docker_model_runner", "langgraph", "langflow"]
)
async def test_local_providers_are_refused_by_their_address(
    confined: LiteLLM, connected: Sequence[tuple[object, ...]], name: str
) -> None:
    failure = await failure_of(confined, f"{name}/model", None)
    assert "private" in failure.message or "can't check" in failure.message
    assert [address for address in connected if str(address[0]).startswith(("127.", "::1"))] == []


def resolve_to_loopback(host: str | bytes | None, port: int | str | None, *_: object, **__: object) -> list[object]:
    """A name server that tells this server's own address for every name."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port or 443)))]


@pytest.mark.parametrize("has_url", [True, False])
async def test_no_provider_that_the_library_knows_connects_anywhere_unchecked(
    confined: LiteLLM,
    server: ScriptedLLM,
    connected: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    has_url: bool,
) -> None:
    # All names are private now, so no connection at all is right.
    monkeypatch.setattr(socket, "getaddrinfo", resolve_to_loopback)
    providers = sorted({str(getattr(each, "value", each)) for each in importlib.import_module("litellm").provider_list})
    few = asyncio.Semaphore(16)

    async def answers(provider: str) -> bool:
        async with few:
            with suppress(LLMFailure):
                await answer_of(confined, f"{provider}/model", server.url if has_url else None)
                return True
            return False

    answered = await asyncio.gather(*(answers(provider) for provider in providers))

    assert len(providers) > 100
    assert [provider for provider, has_answered in zip(providers, answered, strict=True) if has_answered] == []
    assert connected == []
    assert len(server.requests) == 0


OLLAMA = b"".join(
    b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"%s"},"done":%s}\n'
    % each
    for each in ((b"Good ", b"false"), (b"morning", b"false"), (b"", b'true,"prompt_eval_count":11,"eval_count":7'))
)


async def test_a_question_that_leads_elsewhere_costs_no_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    # Of this provider's models the library asks for the size, at the place where such a server is by default.
    server.script(raw(OLLAMA, "application/x-ndjson"))
    answer = await answer_of(llm, "ollama_chat/model", server.url)
    assert (answer.text, answer.usage.prompt_tokens, answer.usage.completion_tokens) == ("Good morning", 11, 7)
    # Nor is it told instead of what is really wrong.
    server.script(*[Reply(status=400, body={"error": "no such model"})] * 3)
    failure = await failure_of(llm, "ollama_chat/model", server.url)
    assert "no such model" in failure.message


async def test_a_refused_question_of_the_library_costs_no_answer_from_elsewhere(
    server: ScriptedLLM,
) -> None:
    # Given a call whose first question went to a private address that was refused, then a response that came.
    scope = Scope(private_allowed=False, deadline=math.inf)
    with within(scope):
        async with httpx.AsyncClient(transport=CheckedTransport()) as client:
            with pytest.raises(CallRefused):
                await client.get(server.url)
            assert scope.refusal is not None
            scope.private_allowed = True
            assert (await client.get(server.url)).status_code > 0
    assert scope.refusal is None


PUBLIC = "93.184.216.34"


class Rebinding:
    """A name server that tells a name's public address at the first look-up, and loopback from then on."""

    def __init__(self) -> None:
        self.looked_up = 0

    def __call__(self, host: str | bytes | None, port: int | str | None, *_: object, **__: object) -> list[object]:
        is_asked = host == "changes.example"
        self.looked_up += is_asked
        address = PUBLIC if host == PUBLIC or (is_asked and self.looked_up == 1) else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 443)))]


@pytest.mark.parametrize("provider", HANDLERS)
async def test_the_address_that_was_checked_is_the_one_that_is_called(
    confined: LiteLLM,
    server: ScriptedLLM,
    monkeypatch: pytest.MonkeyPatch,
    connected: list[tuple[object, ...]],
    provider: str,
) -> None:
    names = Rebinding()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    port = urlsplit(server.url).port

    failure = await failure_of(confined, f"{provider}/model", f"http://changes.example:{port}/v1")

    # The first attempt reached the address that was public; the second one found the name to be private.
    assert connected == [(PUBLIC, port)]
    assert names.looked_up == 2
    assert failure.message == "The address of changes.example is private. This server calls public addresses only."
    assert len(server.requests) == 0


def test_calls_in_threads_go_to_the_address_that_was_checked(
    server: ScriptedLLM, monkeypatch: pytest.MonkeyPatch, connected: list[tuple[object, ...]]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Rebinding())
    port = urlsplit(server.url).port

    with (
        within(Scope(private_allowed=False, deadline=math.inf)),
        httpx.Client(transport=CheckedSyncTransport()) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.get(f"http://changes.example:{port}/v1")

    assert connected == [(PUBLIC, port)]


async def test_a_provider_with_a_client_of_its_own_is_not_called(llm: LiteLLM, server: ScriptedLLM) -> None:
    failure = await failure_of(llm, "aiohttp_openai/model", server.url)
    assert failure.message == (
        "The provider aiohttp_openai is not available here: it brings a client of its own, whose connections this "
        "server can't check. Use openai/<model> with an API key."
    )
    assert len(server.requests) == 0


@pytest.mark.parametrize(
    "location",
    [
        "/v1/elsewhere",
        "?again",
        "//127.0.0.1:{port}/",
        "http://localhost.:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "\\\\127.0.0.1\\",
        "http://[",
        "",
    ],
)
async def test_a_redirect_leads_nowhere_whatever_it_says(
    llm: LiteLLM, server: ScriptedLLM, connected: list[tuple[object, ...]], location: str
) -> None:
    port = urlsplit(server.url).port
    for provider in HANDLERS:
        server.reset()
        connected.clear()
        headers = {"location": location.format(port=port)}
        server.script(Reply(status=302, body={}, headers=headers))
        failure = await failure_of(llm, f"{provider}/model", server.url)
        assert failure.message == "The model's server redirects to another address, where this server does not follow."
        assert len(server.requests) == 1
        assert {address[:2] for address in connected} <= {("127.0.0.1", port)}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_no_proxy_or_login_of_the_servers_environment_is_used(
    server: ScriptedLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    login = tmp_path / "netrc"
    login.write_text("default login ada password secret-of-the-operator\n")
    login.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for each in (name, name.lower()):
            monkeypatch.setenv(each, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("NETRC", str(login))
        llm = await service(private=True)
        # Its clients are made anew, in this environment.
        await llm.close()
        for provider in HANDLERS:
            server.script(Reply(status=400, body={"error": {"message": "No."}}))
            await failure_of(llm, f"{provider}/model", server.url)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            await failure_of(llm, "openai/model", f"https://127.0.0.1:{silent.getsockname()[1]}/v1")
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert len(server.requests) >= len(HANDLERS)
    assert "secret-of-the-operator" not in str([request.headers for request in server.requests])
    assert {request.headers.get("authorization", "Bearer sk-of-the-caller") for request in server.requests} == {
        "Bearer sk-of-the-caller"
    }
    monkeypatch.undo()
    await llm.close()


async def test_certificates_that_cannot_be_read_are_told_as_that(
    server: ScriptedLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "certificates.pem").write_text("none")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificates.pem"))
    config = Config(_env_file=None, llm_private_base_urls=True)  # pyright: ignore[reportCallIssue]
    failure = await failure_of(LiteLLM(config), "openai/model", server.url)
    assert failure.message == "This server failed at loading what calls models. Its log tells the reason."
    assert failure.code is ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR
    assert len(server.requests) == 0
    monkeypatch.undo()
    # The next one loads anew, for the tests that follow.
    mended = await service(private=True)
    assert (await answer_of(mended, "openai/model", server.url)).text == "answer to Hello"
    await mended.close()
