"""Derives the provider from a model's name, and tells whether it needs a key, and whether this server calls it.

The rules were read off litellm 1.106.2: every provider was called with a caller's key while the environment held other
keys, and each request was searched for those.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.errors import InvalidInput

DEMO_PROVIDER = "demo"
DEMO_MODEL = "demo/assistant"
MAX_NAME_CHARS = 200
_NAME = re.compile(r"(?!.*//|.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9_.:@/+-]*[A-Za-z0-9_.:@+-])?")

KNOWN_AT_ONCE = frozenset(
    {"anthropic", "azure", "bedrock", "cohere", "deepseek", "gemini", "groq", "hosted_vllm", "lm_studio", "mistral"}
    | {"ollama", "ollama_chat", "openai", "openrouter", "together_ai", "xai"}
)
"""Common prefixes: settings with them are validated without waiting for litellm's import."""

KEYLESS = frozenset(
    {
        DEMO_PROVIDER,
        "custom",
        "docker_model_runner",
        "hosted_vllm",
        "lemonade",
        "llamafile",
        "lm_studio",
        "ollama",
        "ollama_chat",
        "oobabooga",
        "triton",
        "xinference",
    }
)
"""Self-hosted servers, most of which need no key. A key that is set is sent."""

OPENAI_COMPATIBLE = frozenset({"custom_openai", "litellm_proxy", "openai", "text-completion-openai"})
"""Protocols that many servers implement, so with a base URL the key is optional."""

_AMBIENT = "signs in with the server's own account or a login on the server, never with a caller's key"
_IN_PROCESS = "would run inside this server"
REFUSED = {
    "aiohttp_openai": "brings a client of its own, whose connections this server can't check",
    "chatgpt": _AMBIENT,
    "gdc": _AMBIENT,
    "github_copilot": _AMBIENT,
    "oci": _AMBIENT,
    "sagemaker": _AMBIENT,
    "sagemaker_chat": _AMBIENT,
    "sagemaker_nova": _AMBIENT,
    "sap": _AMBIENT,
    "vertex_ai": _AMBIENT,
    "vertex_ai_beta": _AMBIENT,
    "petals": _IN_PROCESS,
    "vllm": _IN_PROCESS,
}
_INSTEAD = {
    "aiohttp_openai": "openai/<model>",
    "vertex_ai": "gemini/<model>",
    "vertex_ai_beta": "gemini/<model>",
    "vllm": "hosted_vllm/<model>",
    "github_copilot": "github/<model>",
    "chatgpt": "openai/<model>",
}

# Public services in OpenAI's protocol, which need a key even if they are given as base URL.
_HOSTED = frozenset({"api.openai.com", "openrouter.ai"})


@dataclass(frozen=True, slots=True)
class Route:
    """The provider, and the model's name for litellm, with a provider added if the caller gave only a base URL."""

    provider: str
    name: str


def route(
    model_name: str,
    base_url: str | None,
    *,
    is_provider: Callable[[str], bool],
    provider_of: Callable[[str], str | None],
) -> Route:
    """Derive the provider from a model's name. Raises ``InvalidInput`` if that is impossible.

    ``is_provider`` recognises prefixes; ``provider_of`` returns the provider of a well-known name without a prefix.
    With a ``base_url``, a name without a known prefix is taken for a model of an OpenAI-compatible server.
    """
    if len(model_name) > MAX_NAME_CHARS or not _NAME.fullmatch(model_name):
        raise InvalidInput(_shape("A model's name has 1 to 200 letters, digits and -_.:@/+."))
    prefix, slash, rest = model_name.partition("/")
    if prefix == DEMO_PROVIDER and slash:
        if model_name != DEMO_MODEL:
            message = f"The demonstration model is {DEMO_MODEL}."
            raise InvalidInput(message)
        return Route(DEMO_PROVIDER, model_name)
    if slash and rest and (prefix in REFUSED or is_provider(prefix)):
        result = Route(prefix, model_name)
    elif base_url:
        result = Route("openai", f"openai/{model_name}")
    else:
        result = Route(provider_of(model_name) or "", model_name)
    if not result.provider:
        raise InvalidInput(_shape(f"No provider can be told from the model's name {model_name!r}."))
    if result.provider in REFUSED:
        instead = _INSTEAD.get(result.provider)
        hint = f" Use {instead} with an API key." if instead else ""
        message = f"The provider {result.provider} is not available here: it {REFUSED[result.provider]}.{hint}"
        raise InvalidInput(message)
    return result


def is_demo(model_name: str) -> bool:
    """Tell whether the name has the demonstration's prefix. litellm is not asked about it, even if it is misspelt."""
    return model_name.startswith(f"{DEMO_PROVIDER}/")


def route_at_once(model_name: str, base_url: str | None) -> Route | None:
    """Derive the route from the name; ``None`` if only litellm knows the provider. Raises ``InvalidInput``."""
    prefix, slash, _ = model_name.partition("/")
    if not slash or (prefix != DEMO_PROVIDER and prefix not in KNOWN_AT_ONCE):
        return None
    return route(model_name, base_url, is_provider=KNOWN_AT_ONCE.__contains__, provider_of=lambda _: None)


def requires_api_key(provider: str, base_url: str | None, *, hosted: frozenset[str] = frozenset()) -> bool:
    """Tell whether the provider needs a key. ``hosted`` are further hosts of public services."""
    if provider in KEYLESS:
        return False
    if provider in OPENAI_COMPATIBLE and base_url:
        host = (urlsplit(base_url).hostname or "").lower()
        return host in _HOSTED or host in hosted
    return True


def _shape(fault: str) -> str:
    return (
        f"{fault} It looks like provider/model, e.g. openai/gpt-4o, anthropic/claude-sonnet-4-5, ollama/llama3 or "
        f"{DEMO_MODEL}; with a base URL, the name that the server there uses."
    )
