"""Imports and configures litellm: no secrets from the environment, no log, and HTTP clients that Parley checks."""

import asyncio
import importlib
import json
import logging
import os
from types import ModuleType
from typing import cast

import httpx

from app.services.llm.assembly import Answer, take
from app.services.llm.base import ChatMessage, Role
from app.services.llm.ending import leave_out_metadata
from app.services.llm.gathering import GatheringClient
from app.services.llm.providers import Route
from app.services.llm.sending import leave_as_they_are
from app.services.llm.transport import CheckedSyncTransport, VerifyTypes, guard_sockets
from app.services.llm.usage import usage_of
from app.services.llm.wire import request_of

# The attribute of litellm with the HTTP client for servers in OpenAI's format.
SESSION = "aclient_session"
_CONNECT_SECONDS = 5.0
_REHEARSAL = "http://rehearsal.invalid/v1"


def load() -> ModuleType:
    """Import litellm and prepare it for calls, which takes 3.5 to 10 s: call it in a thread."""
    # Read at import. Otherwise litellm would fetch a price list from the internet, and load the directory's .env.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    # The only key that litellm reads directly, instead of by its lookup, which is replaced below.
    os.environ.pop("OLLAMA_API_KEY", None)
    litellm = importlib.import_module("litellm")
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        # litellm's log records contain prompts and answers, and its handlers write to stderr.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL)
    settings: dict[str, object] = {
        "suppress_debug_info": True,
        "redact_messages_in_exceptions": True,
        "turn_off_message_logging": True,
        "disable_streaming_logging": True,
        "disable_hf_tokenizer_download": True,
        # If a provider needs an image's bytes, litellm fetches the URL; this restricts it to public addresses.
        "user_url_validation": True,
        # With httpx, cancelling a call closes its connection at once, and close() closes all of them.
        "disable_aiohttp_transport": True,
        "drop_params": True,
        "num_retries": 0,
        **_empty_vault(),
    }
    for name, value in settings.items():
        setattr(litellm, name, value)
    # A first call imports more modules, which takes 1.5 s and would block the event loop; so it is made here, in the
    # thread.
    asyncio.run(_rehearse(litellm))
    _confine(litellm)
    return litellm


def _confine(litellm: ModuleType) -> None:
    """Give all of litellm's HTTP clients the checked transport. A guard refuses connections that bypass it."""
    handlers = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    handlers.AsyncHTTPHandler.create_client = _client
    handlers.HTTPHandler.create_client = _sync_client
    setattr(litellm, SESSION, session())
    setattr(litellm, "client_session", httpx.Client(transport=CheckedSyncTransport(_certificates())))  # noqa: B010
    forget_clients(litellm)
    guard_sockets()
    leave_out_metadata()
    leave_as_they_are()


def _client(_handler: object, timeout: httpx.Timeout | float | None = None, **_: object) -> GatheringClient:
    # No read timeout: each call has its own limit on time without progress, which the operator sets.
    wait = timeout if timeout is not None else httpx.Timeout(None, connect=_CONNECT_SECONDS)
    return GatheringClient(_certificates(), timeout=wait, is_openai=False)


def _sync_client(handler: object) -> httpx.Client:
    timeout = cast("httpx.Timeout | float | None", getattr(handler, "timeout", None))
    return httpx.Client(transport=CheckedSyncTransport(_certificates()), timeout=timeout or _CONNECT_SECONDS)


def session() -> GatheringClient:
    """Create the client for servers in OpenAI's format, with the certificates that litellm would use."""
    return GatheringClient(_certificates())


def _certificates() -> VerifyTypes:
    handlers = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    return handlers.get_ssl_configuration()


async def _rehearse(litellm: ModuleType) -> None:
    """Make a call that a mock transport answers, so that litellm imports all modules that a call needs."""
    greeting = (ChatMessage(Role.USER, "Hello"),)
    target = Route("openai", "openai/gpt-4o")
    request = request_of(target, None, _REHEARSAL, greeting, tools=(), max_tokens=1)
    async with httpx.AsyncClient(transport=httpx.MockTransport(_rehearsed)) as client:
        setattr(litellm, SESSION, client)
        answer = Answer()
        async for chunk in await litellm.acompletion(**request):
            take(chunk, answer)
    await usage_of(litellm, target, request, answer)
    forget_clients(litellm)


def _rehearsed(_request: httpx.Request) -> httpx.Response:
    choice = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [choice]}
    events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=events)


def forget_clients(litellm: ModuleType) -> None:
    """Replace litellm's cache of clients. Emptying the old one would close them again, in background tasks."""
    cache = cast("object", litellm.in_memory_llm_clients_cache)
    setattr(litellm, "in_memory_llm_clients_cache", type(cache)())  # noqa: B010  a module has no such name to a type checker


class _NoSecret:
    value = None


class _NoSecrets:
    """A secret vault without secrets."""

    def get_secret(self, name: str) -> _NoSecret:  # noqa: ARG002  the signature is litellm's
        return _NoSecret()


def _empty_vault() -> dict[str, object]:
    """Return settings with which litellm looks up keys in an empty vault instead of the server's environment."""
    kinds = importlib.import_module("litellm.types.secret_managers.main")
    return {
        "secret_manager_client": _NoSecrets(),
        "_key_management_system": kinds.KeyManagementSystem.AZURE_KEY_VAULT,
        "_key_management_settings": kinds.KeyManagementSettings(access_mode="read_only"),
    }
