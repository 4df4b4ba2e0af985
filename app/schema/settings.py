"""GraphQL types of a caller's settings, and payloads of all mutations that return them."""

from typing import TypeVar

import strawberry
from pydantic import SecretStr

from app.context import Context
from app.models import settings as models
from app.models.settings import PublishPolicy, publish_policy
from app.schema import provider_account
from app.schema.node import Node, settings_id
from app.schema.provider_account import ProviderAccount
from app.schema.scalar import URI
from app.schema.user_error import RemoveProviderTokenError, SetProviderTokenError, UpdateSettingsError
from app.services.settings import UNSET, Unset, UpdateSettings

Info = strawberry.Info[Context, None]
T = TypeVar("T")


@strawberry.type(description="The caller's settings: one per caller.")
class Settings(Node):
    llm_model: str = strawberry.field(
        description="A LiteLLM model name, such as `anthropic/claude-sonnet-4-5` or `ollama/llama3`."
    )
    llm_base_url: URI | None = strawberry.field(description="An OpenAI-compatible endpoint; null: the provider's own.")
    llm_api_key_set: bool = strawberry.field(description="The key itself cannot be read.")
    max_iterations: int = strawberry.field(description="LLM calls that one user message may cause.")
    max_budget_usd: float | None = strawberry.field(
        description="The agent pauses when a conversation has cost this much, in US dollars, and behind each call of a "
        "model whose price is not known; null: no limit."
    )
    confirmation_mode: bool = strawberry.field(description="Tool calls wait for `respondToToolCall`.")
    git_author_name: str | None = strawberry.field(
        description="The author of commits by `commitWorkspace`; null: the login at the git provider."
    )
    git_author_email: str | None = strawberry.field(
        description="The author's e-mail address; null: one that is made of the login and receives no mail."
    )
    publish_policy: PublishPolicy = strawberry.field(
        description="The agent's commits and pull requests that need no `respondToToolCall`. With `confirmationMode` "
        "it asks all the same."
    )

    @strawberry.field(description="The git providers the caller stored a token for.")
    async def provider_accounts(self, info: Info) -> list[ProviderAccount]:
        context = info.context
        rows = await context.owned_accounts.load(context.owner_id)
        return [provider_account.convert(row) for row in rows]


@strawberry.input(description="Omitted: unchanged. Null: back to the default.")
class UpdateSettingsInput:
    llm_model: str | None = strawberry.field(
        default=strawberry.UNSET, description="A LiteLLM model name; the default is `demo/assistant`."
    )
    llm_base_url: URI | None = strawberry.field(
        default=strawberry.UNSET, description="An OpenAI-compatible endpoint, http or https."
    )
    llm_api_key: SecretStr | None = strawberry.field(
        default=strawberry.UNSET, description="Null deletes the stored key."
    )
    max_iterations: int | None = strawberry.field(
        default=strawberry.UNSET, description="LLM calls that one user message may cause, 1 to 1000; default 100."
    )
    max_budget_usd: float | None = strawberry.field(
        default=strawberry.UNSET,
        description="Cost at which the agent pauses, in US dollars; default: no limit. With a model whose price is not "
        "known no limit can hold, so the agent pauses behind each call and says so.",
    )
    confirmation_mode: bool | None = strawberry.field(
        default=strawberry.UNSET, description="True: tool calls wait for `respondToToolCall`. Default false."
    )
    git_author_name: str | None = strawberry.field(
        default=strawberry.UNSET, description="The author of commits, at most 200 characters."
    )
    git_author_email: str | None = strawberry.field(
        default=strawberry.UNSET, description="The author's e-mail address, at most 254 characters."
    )
    publish_policy: PublishPolicy | None = strawberry.field(
        default=strawberry.UNSET,
        description="The agent's commits and pull requests that go without asking; default `ALWAYS_ASK`.",
    )

    def to_command(self) -> UpdateSettings:
        """Convert without validation, and keep an omitted field apart from an explicit null."""
        return UpdateSettings(
            llm_model=_given(self.llm_model),
            llm_base_url=_given(self.llm_base_url),
            llm_api_key=_given(self.llm_api_key),
            max_iterations=_given(self.max_iterations),
            max_budget_usd=_given(self.max_budget_usd),
            confirmation_mode=_given(self.confirmation_mode),
            git_author_name=_given(self.git_author_name),
            git_author_email=_given(self.git_author_email),
            publish_policy=_given(self.publish_policy),
        )


@strawberry.type(description="The result of `updateSettings`.")
class UpdateSettingsPayload:
    settings: Settings | None = strawberry.field(default=None, description="The settings as they are saved now.")
    user_errors: list[UpdateSettingsError] = strawberry.field(
        default_factory=list, description="Why nothing was saved; empty when it was."
    )


@strawberry.type(description="The result of `resetSettings`.")
class ResetSettingsPayload:
    deleted_settings_id: strawberry.ID | None = strawberry.field(
        description="The settings that are gone; null where there were none."
    )


@strawberry.type(description="The result of `setProviderToken`.")
class SetProviderTokenPayload:
    provider_account: ProviderAccount | None = strawberry.field(default=None, description="The account it opens.")
    settings: Settings | None = strawberry.field(
        default=None, description="The settings as they are now; null until some are saved."
    )
    user_errors: list[SetProviderTokenError] = strawberry.field(
        default_factory=list, description="Why nothing was stored; empty when it was."
    )


@strawberry.type(description="The result of `removeProviderToken`.")
class RemoveProviderTokenPayload:
    deleted_provider_account_id: strawberry.ID | None = strawberry.field(
        default=None, description="The account that is gone."
    )
    settings: Settings | None = strawberry.field(
        default=None, description="The settings as they are now; null until some are saved."
    )
    user_errors: list[RemoveProviderTokenError] = strawberry.field(
        default_factory=list, description="Why nothing was removed; empty when it was."
    )


def convert(row: models.Settings) -> Settings:
    """Build the GraphQL object of a row; the API key is shown only as set or not."""
    return Settings(
        id=settings_id(row.id),
        llm_model=row.llm_model,
        llm_base_url=URI(row.llm_base_url) if row.llm_base_url is not None else None,
        llm_api_key_set=row.llm_api_key_encrypted is not None,
        max_iterations=row.max_iterations,
        max_budget_usd=row.max_budget_usd,
        confirmation_mode=row.confirmation_mode,
        git_author_name=row.git_author_name,
        git_author_email=row.git_author_email,
        publish_policy=publish_policy(row),
    )


def _given(value: T) -> T | Unset:
    return UNSET if value is strawberry.UNSET else value
