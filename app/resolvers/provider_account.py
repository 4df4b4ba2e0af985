"""Mutations that store or remove a caller's token for a git host."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema import settings
from app.schema.node import provider_account_id
from app.schema.provider_account import RemoveProviderTokenInput, SetProviderTokenInput, convert
from app.schema.settings import RemoveProviderTokenPayload, SetProviderTokenPayload, Settings
from app.schema.user_error import with_user_errors

Info = strawberry.Info[Context, None]


@with_user_errors
async def set_token(
    info: Info,
    input: Annotated[SetProviderTokenInput, strawberry.argument(description="The token, and for which host.")],  # noqa: A002  The contract's name.
) -> SetProviderTokenPayload:
    context = info.context
    row = await context.services.provider_account.set_token(context.owner_id, input.to_command())
    return SetProviderTokenPayload(provider_account=convert(row), settings=await _settings(context))


@with_user_errors
async def remove_token(
    info: Info,
    input: Annotated[RemoveProviderTokenInput, strawberry.argument(description="Which.")],  # noqa: A002  The contract's name.
) -> RemoveProviderTokenPayload:
    context = info.context
    deleted = await context.services.provider_account.remove_token(context.owner_id, input.provider)
    return RemoveProviderTokenPayload(
        deleted_provider_account_id=provider_account_id(deleted), settings=await _settings(context)
    )


async def _settings(context: Context) -> Settings | None:
    row = await context.services.settings.get(context.owner_id)
    return settings.convert(row) if row is not None else None
