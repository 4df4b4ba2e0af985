"""The query for the caller's settings, and the mutations that change or reset them."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.node import settings_id
from app.schema.settings import (
    ResetSettingsPayload,
    Settings,
    UpdateSettingsInput,
    UpdateSettingsPayload,
    convert,
)
from app.schema.user_error import with_user_errors

Info = strawberry.Info[Context, None]


async def get(info: Info) -> Settings | None:
    row = await info.context.services.settings.get(info.context.owner_id)
    return convert(row) if row is not None else None


@with_user_errors
async def update(
    info: Info,
    input: Annotated[UpdateSettingsInput, strawberry.argument(description="The changes.")],  # noqa: A002  The contract's name.
) -> UpdateSettingsPayload:
    row = await info.context.services.settings.update(info.context.owner_id, input.to_command())
    return UpdateSettingsPayload(settings=convert(row))


async def reset(info: Info) -> ResetSettingsPayload:
    deleted = await info.context.services.settings.reset(info.context.owner_id)
    return ResetSettingsPayload(deleted_settings_id=settings_id(deleted) if deleted is not None else None)
