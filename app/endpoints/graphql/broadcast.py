"""Shared execution of equal subscriptions: each result is computed and encoded once for all subscribers.

A subscriber executes its operation itself until it has received everything that exists (snapshot, replay, or the error
with which it can't begin). From then on equal operations of one caller have equal results, so it joins their broadcast:
one stream is executed, each result is encoded once, and the same bytes are written to each socket behind the
operation's id. A subscriber that reads too slowly (back-pressure) leaves the broadcast, and continues its own execution
from its position.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from strawberry.types.execution import ExecutionResult

from app.context import Context, Services
from app.graphql.schema import Schema
from app.json_encoding import encode
from app.services.auth.authenticator import Caller
from app.services.push.progress import Progress

log = structlog.get_logger(__name__)

# Bytes that are queued for a slow subscriber. All queues share the same bytes objects.
MAX_WAITING_BYTES = 256 * 1024
# Sockets that are written to before the event loop gets a turn, so that the first ones don't wait for the last ones.
WRITTEN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class SharedOperation:
    """The key of a broadcast: equal operations of one caller have equal results. ``variables`` is JSON, keys sorted."""

    caller_id: str
    query: str
    name: str | None
    variables: str

    @classmethod
    def of(
        cls, caller: Caller, query: str, name: str | None, variables: Mapping[str, object] | None
    ) -> "SharedOperation":
        """Build the key. It uses ``json`` since orjson would write NaN as null."""
        return cls(caller.id, query, name, json.dumps(variables or {}, sort_keys=True))


class Socket(Protocol):
    """A client's socket, as the broadcast needs it."""

    def write(self, message: bytes) -> bool:
        """Send without waiting; False if that is not possible now."""
        ...

    async def send(self, message: bytes) -> None:
        """Send, and wait up to the send timeout. Raises WebSocketDisconnected."""
        ...


class Subscriber:
    """One operation on one socket, with its position and its queue of unsent messages."""

    def __init__(self, socket: Socket, operation_id: str) -> None:
        self._socket = socket
        self._beginning = b'{"id":' + encode(operation_id) + b',"type":"next","payload":'
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._woken = asyncio.Event()
        self._has_left = False
        self.position: int | None = None

    def take(self, end: bytes, position: int) -> bool:
        """Send or queue a message (without its id part), unless the position is old. False if the queue is full."""
        if self.position is not None and position <= self.position:
            return True
        if not self._waiting and self._socket.write(self._beginning + end):
            return True
        if self._waiting and self._waiting_bytes + len(end) > MAX_WAITING_BYTES:
            return False
        self._waiting.append(end)
        self._waiting_bytes += len(end)
        self._woken.set()
        return True

    def join(self, position: int) -> None:
        """Join a broadcast at a position: earlier messages, and those before the own position, are skipped."""
        self.position = max(position, self.position or 0)
        self._has_left = False

    def leave(self, position: int) -> None:
        """Leave the broadcast at a position, up to which all messages were taken."""
        self.position = max(position, self.position or 0)
        self._has_left = True
        self._woken.set()

    async def send_waiting(self) -> None:
        """Send queued messages as the client reads them, until the broadcast ends. Raises WebSocketDisconnected."""
        while self._waiting or not self._has_left:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                # The message stays in the queue while it is sent, so that ``take`` can't send a later one first.
                await self._socket.send(self._beginning + self._waiting[0])
                self._waiting_bytes -= len(self._waiting.popleft())


class Broadcasts:
    """The broadcasts of one process; each exists as long as it has subscribers."""

    def __init__(self, schema: Schema, services: Services) -> None:
        self._schema = schema
        self._services = services
        self._broadcasts: dict[SharedOperation, _Broadcast] = {}

    async def follow(
        self, subscriber: Subscriber, caller: Caller, query: str, name: str | None, variables: dict[str, Any] | None
    ) -> AsyncGenerator[Any]:
        """Yield the results of the subscriber's own execution; shared ones are written to its socket directly."""
        progress = Progress(ends_when_live=True)
        while True:
            context = Context(self._services, caller, progress)
            results = await self._schema.stream(
                query, variable_values=variables, context_value=context, operation_name=name
            )
            async with aclosing(results):
                async for result in results:
                    yield result
            if not progress.is_live:
                return
            subscriber.position = progress.position
            broadcast = self._broadcast(SharedOperation.of(caller, query, name, variables), caller, progress.position)
            has_ended = await broadcast.follow(subscriber)
            # After a broadcast that ended or failed, the own execution meets the same end or failure.
            progress = Progress(subscriber.position, ends_when_live=not has_ended)

    def _broadcast(self, operation: SharedOperation, caller: Caller, position: int | None) -> "_Broadcast":
        broadcast = self._broadcasts.get(operation)
        if broadcast is None:
            context = Context(self._services, caller, Progress(position))
            broadcast = _Broadcast(self._schema, context, operation, self._broadcasts.pop)
            self._broadcasts[operation] = broadcast
        return broadcast


class _Broadcast:
    """One shared execution with its subscribers."""

    def __init__(
        self, schema: Schema, context: Context, operation: SharedOperation, on_end: Callable[[SharedOperation], object]
    ) -> None:
        self._schema = schema
        self._context = context
        self._operation = operation
        self._on_end = on_end
        self._subscribers: set[Subscriber] = set()
        self._position = context.progress.position or 0
        self._is_closed = False
        self._has_ended = False
        self._task = asyncio.create_task(self._run(), name="broadcast")

    async def follow(self, subscriber: Subscriber) -> bool:
        """Wait until the subscriber has to continue by itself. Returns True if the broadcast ended.

        False means that the subscriber was too slow, or too far behind to join. Each subscriber adds its own budget of
        calls to git providers.
        """
        if subscriber.position is not None and subscriber.position < self._position:
            return False
        self._context.git_calls = self._context.services.repository.budget()
        subscriber.join(self._position)
        self._subscribers.add(subscriber)
        try:
            await subscriber.send_waiting()
            return self._has_ended
        finally:
            self._subscribers.discard(subscriber)
            if not self._subscribers and not self._has_ended:
                self._close()
                self._task.cancel()
                await asyncio.wait({self._task})

    def _close(self) -> None:
        """Accept no more subscribers."""
        if not self._is_closed:
            self._is_closed = True
            self._on_end(self._operation)

    async def _run(self) -> None:
        operation, progress = self._operation, self._context.progress
        try:
            results = await self._schema.stream(
                operation.query,
                variable_values=json.loads(operation.variables),
                context_value=self._context,
                operation_name=operation.name,
            )
            async with aclosing(results):
                async for result in results:
                    position = progress.position
                    if not isinstance(result, ExecutionResult) or position is None or position <= self._position:
                        # A result without a new position is the source's error.
                        break
                    await self._give_out(encode(_payload(result)) + b"}", position)
        except Exception:  # Whatever it was, each subscriber goes on by itself.
            log.exception("broadcast.failed")
        finally:
            self._has_ended = True
            self._close()
            for subscriber in self._subscribers:
                subscriber.leave(self._position)

    async def _give_out(self, end: bytes, position: int) -> None:
        before, self._position = self._position, position
        for number, subscriber in enumerate(list(self._subscribers), 1):
            # The list is a snapshot: subscribers may have joined or left while the loop yielded.
            if subscriber in self._subscribers and not subscriber.take(end, position):
                self._subscribers.discard(subscriber)
                subscriber.leave(before)
            if number % WRITTEN_AT_ONCE == 0:
                await asyncio.sleep(0)


def _payload(result: ExecutionResult) -> dict[str, object]:
    """Build the payload as Strawberry does for a single subscriber."""
    payload: dict[str, object] = {"data": result.data}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload
