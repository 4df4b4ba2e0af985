"""Subscriptions that are executed once for all who follow the same.

A subscriber executes its operation itself until it has been told all there is: its snapshot, its replay, or why it
can't begin. From there on equal operations of one caller have equal results, so it joins their broadcast, where one
stream is executed and each result is encoded once; what is written to each socket is its operation's id, and those
bytes. One who takes its messages too slowly leaves, and goes on by itself from where it stands.
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
from app.endpoints.graphql.encoding import encode
from app.graphql.schema import Schema
from app.services.auth.authenticator import Caller
from app.services.push.progress import Progress

log = structlog.get_logger(__name__)

# Kept for a subscriber whose socket takes nothing more just now. They are the same bytes for all such.
MAX_WAITING_BYTES = 256 * 1024
# After so many sockets the loop is let go on, so that the first ones have their message while the last ones get theirs.
WRITTEN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class SharedOperation:
    """What is executed, and for whom: equal ones have equal results. ``variables`` is JSON, with its names in order."""

    caller_id: str
    query: str
    name: str | None
    variables: str

    @classmethod
    def of(
        cls, caller: Caller, query: str, name: str | None, variables: Mapping[str, object] | None
    ) -> "SharedOperation":
        """The standard library's JSON tells apart what orjson writes alike: NaN and null."""
        return cls(caller.id, query, name, json.dumps(variables or {}, sort_keys=True))


class Socket(Protocol):
    """How messages get to a client."""

    def write(self, message: bytes) -> bool:
        """Send, unless that would have to wait; tells whether it was sent."""
        ...

    async def send(self, message: bytes) -> None:
        """Send, and wait as long as a client may take. Raises WebSocketDisconnected."""
        ...


class Subscriber:
    """One operation on one socket."""

    def __init__(self, socket: Socket, operation_id: str) -> None:
        self._socket = socket
        self._beginning = b'{"id":' + encode(operation_id) + b',"type":"next","payload":'
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._woken = asyncio.Event()
        self._has_left = False
        self.position: int | None = None

    def take(self, end: bytes, position: int) -> bool:
        """Take the rest of a message, unless it was told already. False: too much waits, and this is not taken."""
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
        """Called by the broadcast: what comes is behind that position, and behind the subscriber's own."""
        self.position = max(position, self.position or 0)
        self._has_left = False

    def leave(self, position: int) -> None:
        """Called by the broadcast: no more will come; all up to there was taken."""
        self.position = max(position, self.position or 0)
        self._has_left = True
        self._woken.set()

    async def send_waiting(self) -> None:
        """Send what waits, as the client takes it, until the broadcast was left. Raises WebSocketDisconnected."""
        while self._waiting or not self._has_left:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                # It keeps its place until it was sent, or a later one could go first.
                await self._socket.send(self._beginning + self._waiting[0])
                self._waiting_bytes -= len(self._waiting.popleft())


class Broadcasts:
    """The broadcasts of one process, each for as long as somebody follows it."""

    def __init__(self, schema: Schema, services: Services) -> None:
        self._schema = schema
        self._services = services
        self._broadcasts: dict[SharedOperation, _Broadcast] = {}

    async def follow(
        self, subscriber: Subscriber, caller: Caller, query: str, name: str | None, variables: dict[str, Any] | None
    ) -> AsyncGenerator[Any]:
        """The results that are this subscriber's own. What it shares is sent to its socket between them."""
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
            # Whoever is left by a broadcast that ended, or failed, meets the end or the failure itself.
            progress = Progress(subscriber.position, ends_when_live=not has_ended)

    def _broadcast(self, operation: SharedOperation, caller: Caller, position: int | None) -> "_Broadcast":
        broadcast = self._broadcasts.get(operation)
        if broadcast is None:
            context = Context(self._services, caller, Progress(position))
            broadcast = _Broadcast(self._schema, context, operation, self._broadcasts.pop)
            self._broadcasts[operation] = broadcast
        return broadcast


class _Broadcast:
    """One execution, and those who follow it."""

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
        """Return once the subscriber has to go on by itself; tells whether because this has come to its end.

        Else the subscriber is too slow, or was behind what is given out already. Each brings what its operation may ask
        of git providers.
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
        """Let nobody else in."""
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
                        # Nothing new from the source: this tells why it failed.
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
            # Who came meanwhile is not in the list; who left meanwhile is no subscriber any more.
            if subscriber in self._subscribers and not subscriber.take(end, position):
                self._subscribers.discard(subscriber)
                subscriber.leave(before)
            if number % WRITTEN_AT_ONCE == 0:
                await asyncio.sleep(0)


def _payload(result: ExecutionResult) -> dict[str, object]:
    """As Strawberry makes it for one subscriber."""
    payload: dict[str, object] = {"data": result.data}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload
