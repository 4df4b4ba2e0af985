"""Calls every model but the demonstration's through litellm."""

import asyncio
import gc
import importlib
import threading
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from functools import lru_cache
from types import ModuleType
from typing import cast
from urllib.parse import urlsplit

import structlog

from app.config import Config
from app.errors import ErrorCode, InvalidInput, LLMFailure
from app.services.llm import demo
from app.services.llm.assembly import Answer, take
from app.services.llm.base import LLM, ChatMessage, Completion, Model, OnText, ToolSpec, Usage
from app.services.llm.ending import shorten_ending
from app.services.llm.fault_words import sentence_of
from app.services.llm.faults import BROKE_OFF, UNREAD, CallFailed, Fault, fault, fault_of, message_of, place_of
from app.services.llm.library import SESSION, forget_clients, load, session
from app.services.llm.providers import OPENAI_COMPATIBLE, Route, is_demo, requires_api_key, route, route_at_once
from app.services.llm.transport import LATE, Scope, target_of, within
from app.services.llm.usage import cost_usd, usage_of
from app.services.llm.wire import NO_KEY, Stream, ending_of, request_of, stream_of
from app.services.outbound import private_allowed

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
RETRY_PAUSE_SECONDS = 0.5
# For estimates only.
CHARS_PER_TOKEN = 4
_LOOKED_UP = ("os.environ/", "oidc/")
_NOT_LOADED = "This server failed at loading what calls models. Its log tells the reason."


class LiteLLM(LLM):
    """Calls models through litellm. The first use imports it in a thread, which takes 3.5 to 10 s and 180 MB.

    The demonstration model does not need it, and most settings are checked without it.
    """

    def __init__(self, config: Config, *, retry_pause_seconds: float = RETRY_PAUSE_SECONDS) -> None:
        self._idle_seconds = config.llm_timeout_seconds
        self._private_allowed = private_allowed(config)
        self._total_seconds = config.llm_answer_timeout_seconds
        self._retry_pause_seconds = retry_pause_seconds
        self._loading: Future[ModuleType] | None = None

    def warm_up(self, model_name: str) -> None:
        """Start the import in the background, unless the model does not need it. Calls wait until it is done."""
        if not is_demo(model_name):
            self._begin()

    def is_ready(self, model_name: str) -> bool:
        """Tell whether litellm is imported, or the model does not need it."""
        return is_demo(model_name) or (self._loading is not None and self._loading.done())

    async def ready(self, model_name: str) -> None:
        """Wait until the model can be called. Raises LLMFailure if the import fails."""
        if not is_demo(model_name):
            await self._library()

    async def close(self) -> None:
        """Close idle connections. Later calls open new ones."""
        if self._loading is None or not self._loading.done():
            return
        litellm = await self._library()
        cleanup = importlib.import_module("litellm.llms.custom_httpx.async_client_cleanup")
        worker = importlib.import_module("litellm.litellm_core_utils.logging_worker")
        await cleanup.close_litellm_async_clients()
        await getattr(litellm, SESSION).aclose()
        setattr(litellm, SESSION, session())
        forget_clients(litellm)
        await worker.GLOBAL_LOGGING_WORKER.stop()
        # Dropping the cache has scheduled a task for each client.
        await asyncio.sleep(0)

    async def validate(self, model_name: str, base_url: str | None) -> None:
        if route_at_once(model_name, base_url) is None:
            _route(await self._library(), model_name, base_url)

    async def context_tokens(self, model_name: str, base_url: str | None) -> int | None:
        if is_demo(model_name):
            return None
        litellm = await self._library()
        name = _route(litellm, model_name, base_url).name
        # The table is read directly, since litellm's own function asks some providers over the network.
        table = cast("Mapping[str, Mapping[str, object]]", litellm.model_cost)
        known = table.get(name) or table.get(name.partition("/")[2]) or {}
        tokens = known.get("max_input_tokens")
        return tokens if isinstance(tokens, int) else None

    async def requires_api_key(self, model_name: str, base_url: str | None) -> bool:
        route = route_at_once(model_name, base_url)
        if route is not None and not (base_url and route.provider in OPENAI_COMPATIBLE):
            return requires_api_key(route.provider, base_url)
        litellm = await self._library()
        return _requires_api_key(litellm, _route(litellm, model_name, base_url), base_url)

    async def complete(
        self,
        model: Model,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        max_tokens: int | None = None,
        timeout_seconds: float | None = None,
        on_text: OnText | None = None,
    ) -> Completion:
        if is_demo(model.name):
            _checked_demo(model)
            return await demo.complete(messages, max_tokens=max_tokens, on_text=on_text)
        litellm = await self._library()
        target, key = _authorize(litellm, model)
        request = request_of(target, key, model.base_url, messages, tools=tools, max_tokens=max_tokens)
        # A fallback: the timeouts in ``_pieces`` are shorter, and also apply between two events.
        request["timeout"] = self._idle_seconds + 30.0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(self._total_seconds, timeout_seconds or self._total_seconds)
        names = frozenset(tool.name for tool in tools)
        attempt = 0
        while True:
            attempt += 1
            answer = Answer(names)
            try:
                async with aclosing(self._pieces(litellm, request, answer, deadline, key)) as pieces:
                    async for piece in pieces:
                        if on_text is not None:
                            await on_text(piece)
                break
            except CallFailed as failed:
                pause = self._retry_pause_seconds * 2 ** (attempt - 1)
                # No retry after text was passed on, since it can't be taken back.
                is_last = attempt == MAX_ATTEMPTS or bool(answer.text) or loop.time() + pause >= deadline
                if is_last or not failed.fault.is_transient:
                    raise failed.fault.failure from None
            await asyncio.sleep(pause)
        usage = await usage_of(litellm, target, request, answer)
        return Completion("".join(answer.text), tuple(answer.calls), usage, answer.ending, answer.provider_fields)

    def estimate(self, model: Model, messages: Sequence[ChatMessage], text: str) -> Usage:
        chars = sum(len(message.text) + sum(len(call.arguments) for call in message.tool_calls) for message in messages)
        prompt, answered = (int(count / CHARS_PER_TOKEN) + 1 for count in (chars, len(text)))
        if is_demo(model.name) or self._loading is None or not self._loading.done():
            return Usage(prompt, answered, 0.0 if is_demo(model.name) else None)
        litellm = self._loading.result()
        return Usage(
            prompt, answered, cost_usd(litellm, _route(litellm, model.name, model.base_url), prompt, answered, None)
        )

    def _begin(self) -> Future[ModuleType]:
        if self._loading is None:
            self._loading = Future()
            threading.Thread(target=_load_into, args=(self._loading,), name="litellm-import", daemon=True).start()
        return self._loading

    async def _library(self) -> ModuleType:
        try:
            # Shielded: a call that is cancelled must not cancel the import for the others.
            return await asyncio.shield(asyncio.wrap_future(self._begin()))
        except Exception as error:  # Of any type: an OSError here must not be mistaken for an outage of the database.
            raise LLMFailure(_NOT_LOADED, code=ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR) from error

    async def _pieces(
        self, litellm: ModuleType, request: Mapping[str, object], answer: Answer, deadline: float, key: str | None
    ) -> AsyncGenerator[str, None]:
        stream: Stream | None = None
        left = deadline - asyncio.get_running_loop().time()
        base_url = cast("str | None", request.get("api_base"))
        target = target_of(base_url) if base_url else None
        scope = Scope(self._private_allowed, time.monotonic() + left, target)
        try:
            try:
                async with self._limit(deadline):
                    with within(scope):
                        stream = stream_of(await litellm.acompletion(**request))
                shorten_ending(stream, answer)
                chunks = aiter(stream)
                while True:
                    async with self._limit(deadline):
                        with within(scope):
                            chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    piece = take(chunk, answer)
                    if piece:
                        yield piece
            except TimeoutError:
                late = fault(LATE, ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE)
                raise CallFailed(late) from None
            except (CallFailed, GeneratorExit):
                raise
            except Exception as error:  # noqa: BLE001  litellm raises whatever its providers' code raises
                raise CallFailed(_refusal(scope, key) or _told(error, scope, key)) from None
            if (refusal := _refusal(scope, key)) is not None:
                raise CallFailed(refusal)
            answer.ending = ending_of(stream, answer)
        finally:
            if stream is not None:
                await stream.aclose()
            await scope.close()

    def _limit(self, deadline: float) -> asyncio.Timeout:
        return asyncio.timeout_at(min(asyncio.get_running_loop().time() + self._idle_seconds, deadline))


def _load_into(loading: Future[ModuleType]) -> None:
    try:
        loading.set_result(load())
        # Garbage collections need not traverse litellm's 200 MB.
        gc.freeze()
    except BaseException as error:  # Every waiting call raises this error.
        log.exception("llm.not_loaded")
        loading.set_exception(error)


def _refusal(scope: Scope, key: str | None) -> Fault | None:
    if scope.refusal is None:
        return None
    unavailable, failed = (
        ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE,
        ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR,
    )
    code = unavailable if scope.refusal in (LATE, BROKE_OFF) else failed
    # For example, a proxy's error page among the events, which a retry may not get.
    message = message_of("", scope.refusal, secret=key)
    return fault(message, code, is_transient=scope.refusal in (UNREAD, BROKE_OFF))


def _told(error: Exception, scope: Scope, key: str | None) -> Fault:
    classified = fault_of(error, secret=key, answered=scope.status)
    if classified.own is not None:
        # Some errors repeat a part of the answer, which must not be logged.
        text = message_of("", sentence_of(str(classified.own)), secret=key)
        log.error("llm.library_failed", kind=type(classified.own).__name__, place=place_of(classified.own), detail=text)
    return classified


@lru_cache(maxsize=1000)
def _route(litellm: ModuleType, model_name: str, base_url: str | None) -> Route:
    registry = importlib.import_module("litellm.llms.openai_like.json_loader").JSONProviderRegistry
    known = frozenset(str(getattr(provider, "value", provider)) for provider in litellm.provider_list)

    def is_provider(prefix: str) -> bool:
        return prefix in known or bool(registry.exists(prefix))

    def provider_of(name: str) -> str | None:
        try:
            return str(litellm.get_llm_provider(name, api_key=NO_KEY)[1])
        except Exception:  # noqa: BLE001  it raises several kinds for a name that it does not know
            return None

    return route(model_name, base_url, is_provider=is_provider, provider_of=provider_of)


@lru_cache(maxsize=1000)
def _requires_api_key(litellm: ModuleType, target: Route, base_url: str | None) -> bool:
    endpoints = cast("Sequence[str]", litellm.openai_compatible_endpoints)
    hosted = frozenset(urlsplit(each if "://" in each else f"https://{each}").hostname or "" for each in endpoints)
    return requires_api_key(target.provider, base_url, hosted=hosted)


def _checked_demo(model: Model) -> None:
    try:
        route_at_once(model.name, model.base_url)
    except InvalidInput as error:
        raise LLMFailure(error.message, code=ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR) from error


def _authorize(litellm: ModuleType, model: Model) -> tuple[Route, str | None]:
    try:
        target = _route(litellm, model.name, model.base_url)
    except InvalidInput as error:
        raise LLMFailure(error.message, code=ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR) from error
    key = (model.api_key.get_secret_value().strip() if model.api_key else "") or None
    # litellm resolves these prefixes from the server's environment, files and identity.
    if (key is None and _requires_api_key(litellm, target, model.base_url)) or (key and key.startswith(_LOOKED_UP)):
        message = f"The provider {target.provider} needs an API key."
        raise LLMFailure(message, code=ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION)
    return target, key
