"""Which models are served here, and which of them need an API key."""

import importlib

import pytest
from pydantic import SecretStr

from app.config import Config
from app.errors import ErrorCode, InvalidInput, LLMFailure
from app.services.llm.base import ChatMessage, Model, Role
from app.services.llm.litellm import LiteLLM
from app.services.llm.providers import KNOWN_AT_ONCE, requires_api_key

KEY = "sk-the-callers-own-key"
HELLO = (ChatMessage(Role.USER, "Hello"),)


@pytest.mark.parametrize(
    "name", ["openai/gpt-4o", "gpt-4o", "anthropic/claude-sonnet-4-5", "bedrock/amazon.nova-pro-v1:0"]
)
@pytest.mark.parametrize("key", [None, "  ", "os.environ/OPENAI_API_KEY", "oidc/env/OPENAI_API_KEY"])
async def test_a_model_whose_provider_needs_a_key_is_not_called_without_one(
    llm: LiteLLM, monkeypatch: pytest.MonkeyPatch, name: str, key: str | None
) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.setenv(variable, "sk-of-the-server")

    with pytest.raises(LLMFailure, match="needs an API key") as caught:
        await llm.complete(Model(name, SecretStr(key) if key is not None else None, None), HELLO)

    assert caught.value.code is ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION


@pytest.mark.parametrize(
    ("name", "base_url", "needed"),
    [
        ("demo/assistant", None, False),
        ("gpt-4o", None, True),
        ("openai/gpt-4o", None, True),
        ("openai/gpt-4o", "http://127.0.0.1:8080/v1", False),
        ("openai/gpt-4o", "https://api.openai.com/v1", True),
        ("llama-3.3", "https://api.groq.com/openai/v1", True),
        ("my-model", "https://models.example/v1", False),
        ("anthropic/claude-sonnet-4-5", None, True),
        ("anthropic/claude-sonnet-4-5", "https://proxy.example", True),
        ("azure/gpt-4o", "https://mine.openai.azure.com", True),
        ("bedrock/amazon.nova-pro-v1:0", None, True),
        ("gemini/gemini-2.0-flash", None, True),
        ("ollama/llama3", None, False),
        ("ollama_chat/llama3", "http://127.0.0.1:11434", False),
        ("lm_studio/qwen", "http://127.0.0.1:1234/v1", False),
        ("llamafile/any", None, False),
        ("hosted_vllm/any", "http://127.0.0.1:8001/v1", False),
    ],
)
async def test_who_needs_a_key(llm: LiteLLM, name: str, base_url: str | None, needed: bool) -> None:
    assert await llm.requires_api_key(name, base_url) is needed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "1 to 200"),
        ("x" * 201, "1 to 200"),
        ("mine", "looks like provider/model"),
        ("nobody/knows", "looks like provider/model"),
        ("openai/", "1 to 200"),
        ("huggingface/https://example.com", "1 to 200"),
        ("openai/../x", "1 to 200"),
        ("demo/other", "demo/assistant"),
        ("vertex_ai/gemini-2.0-flash", "gemini/<model>"),
        ("sagemaker/x", "the server's own account"),
        ("github_copilot/gpt-4o", "a login on the server"),
        ("vllm/x", "hosted_vllm/<model>"),
    ],
)
async def test_a_name_that_no_provider_serves_here_is_refused(llm: LiteLLM, name: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace("/", "\\/")):
        await llm.validate(name, None)
    with pytest.raises(LLMFailure, match=words):
        await llm.complete(Model(name, SecretStr(KEY), None), HELLO)


@pytest.mark.parametrize("provider", sorted(KNOWN_AT_ONCE))
async def test_what_is_told_without_the_library_is_what_the_library_tells(llm: LiteLLM, provider: str) -> None:
    litellm = importlib.import_module("litellm")
    early = LiteLLM(Config(_env_file=None))  # pyright: ignore[reportCallIssue]

    await early.validate(f"{provider}/any", None)

    assert early.is_ready(f"{provider}/any") is False
    assert provider in litellm.provider_list
    assert requires_api_key(provider, None) is await early.requires_api_key(f"{provider}/any", None)
