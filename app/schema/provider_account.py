"""GraphQL types of provider accounts, which hold a caller's tokens for git hosts. A token can be set but never read."""

import strawberry
from pydantic import SecretStr

from app.models import provider_account as models
from app.models.provider_account import ProviderType
from app.schema.node import Node, provider_account_id
from app.services.provider_account import SetProviderToken


@strawberry.type(description="A git provider the caller stored a token for.")
class ProviderAccount(Node):
    provider: ProviderType = strawberry.field(description="The kind of host.")
    host: str | None = strawberry.field(description="A self-hosted instance; null: the provider's public host.")
    login: str = strawberry.field(description="Whom the token belongs to, as the provider says.")
    token_set: bool = strawberry.field(description="The token itself cannot be read.")


@strawberry.input(description="A token for a git provider.")
class SetProviderTokenInput:
    provider: ProviderType = strawberry.field(description="The kind of host.")
    token: SecretStr = strawberry.field(description="It is asked about before it is stored.")
    host: str | None = strawberry.field(
        default=None, description="Self-hosted instance, as `host` or `host:port`; null: the provider's public host."
    )

    def to_command(self) -> SetProviderToken:
        """Convert without validation: the service asks the host whether the token is accepted."""
        return SetProviderToken(self.provider, self.token, self.host)


@strawberry.input(description="Which provider's token.")
class RemoveProviderTokenInput:
    provider: ProviderType = strawberry.field(description="The kind of host.")


def convert(row: models.ProviderAccount) -> ProviderAccount:
    """Build the GraphQL object of a row, without its token."""
    return ProviderAccount(
        id=provider_account_id(row.id),
        provider=ProviderType(row.provider),
        host=row.host,
        login=row.login,
        token_set=True,
    )
