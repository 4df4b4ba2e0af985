"""Idempotency keys: a mutation that a client sends again with the same key returns the first result."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.errors import InvalidInput
from app.models.database.database import Database
from app.models.database.unit_of_work import UnitOfWork
from app.models.idempotency import KEY_MAX_LENGTH, IdempotencyKey, IdempotencyKeyRepository
from app.models.run_writes import RunWrites
from app.services.clock import Clock
from app.services.message import check_storable

LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's key for one operation; ``key`` is ``None`` if there is none. Raises InvalidInput if malformed."""

    owner_id: str
    operation: str
    key: str | None

    def __post_init__(self) -> None:
        if self.key is None:
            return
        if not 1 <= len(self.key) <= KEY_MAX_LENGTH:
            message = f"An idempotency key has 1 to {KEY_MAX_LENGTH} characters."
            raise InvalidInput(message, path=("idempotencyKey",))
        check_storable(self.key, "idempotencyKey")


class Idempotency:
    """Stores first results by key, for 24 hours."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def earlier(self, key: Key, unit: UnitOfWork | None = None) -> IdempotencyKey | None:
        """Return the first result under the key, if there is one."""
        if key.key is None:
            return None
        since = self._clock() - LIFETIME
        if unit is not None:
            return await RunWrites(unit).idempotency_key(key.owner_id, key.operation, key.key, since)
        async with self._database.read() as reading:
            return await IdempotencyKeyRepository(reading).get(key.owner_id, key.operation, key.key, since)

    def remember(
        self, unit: UnitOfWork, key: Key, conversation_id: UUID, event_sequence: int | None, result: str | None = None
    ) -> None:
        """Store the result, in the same transaction as the change itself where that is one of the database.

        ``event_sequence``: that of a message, or the number of a pull request. ``result``: JSON of any other result.
        """
        if key.key is None:
            return
        record = IdempotencyKey(
            owner_id=key.owner_id,
            operation=key.operation,
            key=key.key,
            conversation_id=conversation_id,
            event_sequence=event_sequence,
            result=result,
            created_at=self._clock(),
        )
        RunWrites(unit).remember(record)

    async def forget_expired(self) -> None:
        """Delete keys that are older than the lifetime."""
        async with self._database.write() as session:
            await IdempotencyKeyRepository(session).delete_before(self._clock() - LIFETIME)
