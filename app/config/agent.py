"""Settings of the agent's work: calls to language models and git providers, sandboxed commands, and workspaces."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, NoDecode

Origins = Annotated[tuple[str, ...], NoDecode]


class SandboxKind(StrEnum):
    """The sandbox that isolates the agent's commands."""

    BUBBLEWRAP = "bubblewrap"
    DOCKER = "docker"
    NONE = "none"


class AgentSettings(BaseSettings):
    """The settings of an agent's runs. ``Config`` validates those that are lists."""

    llm_timeout_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="Longest wait for the next piece of an LLM's answer."
    )
    llm_answer_timeout_seconds: float = Field(
        default=600.0, gt=0, le=7200, description="Longest duration of one LLM call."
    )
    llm_rate_limit_retries: int = Field(
        default=6, ge=0, le=20, description="How often a rate-limited LLM call is tried again, with growing pauses."
    )
    llm_rate_limit_wait_seconds: float = Field(
        default=2.0, gt=0, le=60, description="First pause after a rate limit; it doubles each time, up to 60 s."
    )
    llm_private_base_urls: bool | None = Field(
        default=None,
        description="Whether `llmBaseUrl` may name a loopback or private address. Unset: with `PARLEY_AUTH=none` only.",
    )
    title_timeout_seconds: float = Field(default=15.0, gt=0, le=60, description="Longest wait for a generated title.")

    git_private_hosts: Origins = Field(
        default=(),
        description="Git hosts that callers may name although their address is private, comma-separated, as origins: "
        "`https://git.example.internal`. `http://` is accepted here only.",
    )
    git_timeout_seconds: float = Field(
        default=20.0, gt=0, le=300, description="Longest wait for one answer of a git provider."
    )
    git_max_calls_per_request: int = Field(
        default=60, ge=1, le=1000, description="Calls to git providers that one GraphQL request may cause."
    )
    clone_timeout_seconds: float = Field(
        default=600.0, gt=0, le=7200, description="Longest duration of cloning a repository, and of pushing a branch."
    )
    commit_coauthor: str = Field(
        default="Parley Agent <agent@parley.invalid>",
        max_length=300,
        pattern=r"^[^<>\r\n]+ <[^<>\s]+>$",
        description="Who is named as co-author of commits by `commitWorkspace`.",
    )
    push_max_bytes: int = Field(
        default=1024**3,
        ge=1024**2,
        le=1024**4,
        description="Most bytes of packed objects that are taken out of a workspace to be pushed.",
    )

    sandbox: SandboxKind = Field(
        default=SandboxKind.BUBBLEWRAP,
        description="`bubblewrap`, or `docker`: what runs the agent's commands. `none`: the agent has no shell.",
    )
    sandbox_docker_image: str = Field(
        default="python:3.11-bookworm", description="Image of the `docker` sandbox; it needs bash and git."
    )
    command_timeout_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="Longest duration of one command of the agent's."
    )
    command_cpu_seconds: int = Field(
        default=120, ge=1, le=36000, description="Processor seconds that each process of a command may take."
    )
    command_memory_bytes: int = Field(
        default=2 * 1024**3,
        ge=64 * 1024**2,
        le=1024**4,
        description="Memory that a command's processes may take together.",
    )
    command_processes: int = Field(
        default=256, ge=8, le=10_000, description="Processes and threads that a command may have at once."
    )
    command_file_bytes: int = Field(
        default=1024**3, ge=1024**2, le=1024**4, description="Largest file that a command may write."
    )
    command_output_characters: int = Field(
        default=30_000,
        ge=1000,
        le=200_000,
        description="How much of a command's output the agent is told, head and tail; the whole is kept in the "
        "workspace.",
    )
    workspace_max_bytes: int = Field(
        default=5 * 1024**3,
        ge=1024**2,
        le=1024**5,
        description="Largest workspace; a command that exceeds it is killed.",
    )
    history_max_tokens: int = Field(
        default=100_000,
        ge=1000,
        le=10_000_000,
        description="Tokens of history that the LLM is sent at most; a longer one is condensed. A model with a smaller "
        "context gets less.",
    )
