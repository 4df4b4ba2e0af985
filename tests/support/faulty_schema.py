"""A schema for differential tests of execution: it has all kinds of types, and injects faults at a given rate.

Faults depend on a seed, the place and the arguments, never on the order of calls, so that two executions of one
operation meet the same faults.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportAssignmentType=false, reportUnknownLambdaType=false
# Wrong types are intended here, and syntax trees are mutated at random.

import asyncio
import random
from collections.abc import AsyncGenerator, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any
from zlib import crc32

import strawberry
from graphql import GraphQLError
from strawberry.types import ExecutionContext

from app.execution.shape import Access, Shape


@dataclass
class Faults:
    """The fault injection of one execution, with a record of the resolvers that were called."""

    seed: int = 0
    rate: float = 0.0
    calls: list[str] = field(default_factory=list[str])
    coroutines: list[Coroutine[Any, Any, object]] = field(default_factory=list[Coroutine[Any, Any, object]])

    def dice(self, place: str) -> random.Random:
        """Return a random generator that is seeded by the place."""
        return random.Random(f"{self.seed}|{place}")

    def close(self) -> None:
        """Stop injecting faults, and close coroutines that stood where no awaitable belongs, so nobody awaited them."""
        self.rate = 0.0
        for coroutine in self.coroutines:
            coroutine.close()


FAULTS: ContextVar[Faults] = ContextVar("faults")


def faulty(place: str, value: Any, *, may_raise: bool = True) -> Any:
    """Return the value, or with the fault rate's probability a wrong one, or raise."""
    faults = FAULTS.get()
    dice = faults.dice(place)
    if dice.random() >= faults.rate:
        return value
    kinds = ["null", "exception as a value", "wrong", "awaitable", "iterator", *(["raise"] if may_raise else [])]
    match dice.choice(kinds):
        case "null":
            return None
        case "raise":
            raise ValueError(f"raised at {place}")
        case "exception as a value":
            return KeyError(f"given at {place}")
        case "wrong":
            return dice.choice([object, {"no": "object"}, 2**40, "text", float("nan"), [[]]])
        case "awaitable":
            return _later(value)
        case _:
            return iter(value) if isinstance(value, list) else value


def _later(value: object) -> Coroutine[Any, Any, object]:
    async def later() -> object:
        await asyncio.sleep(0)
        return value

    coroutine = later()
    FAULTS.get().coroutines.append(coroutine)
    return coroutine


def _key(id_: object) -> str:
    """Return an id, or the type's name of a wrong value, whose repr could contain a memory address."""
    return id_ if isinstance(id_, str) else type(id_).__name__


def _digest(place: str) -> int:
    """Hash a place to a number that is stable between processes."""
    return crc32(place.encode(errors="replace"))


def called(name: str, *arguments: object) -> str:
    """Record a resolver's call, and return the name of its place."""
    place = f"{name}{arguments}"
    FAULTS.get().calls.append(place)
    return place


@strawberry.enum
class Colour(Enum):
    RED = 1
    GREEN = strawberry.enum_value(2, name="VERDE")


@strawberry.input
class Wanted:
    least: int | None = None
    colour: Colour | None = Colour.RED
    tags: list[str] = strawberry.field(default_factory=list)


@strawberry.interface
class Named:
    id: strawberry.ID

    @strawberry.field
    def loud(self) -> str:
        return faulty(called("loud", _key(self.id)), _key(self.id).upper())


@strawberry.type
class Tool(Named):
    name: str
    price: int | None
    made_at: datetime

    @strawberry.field
    async def owner(self, info: strawberry.Info, depth: int = 1) -> "Person | None":
        place = called("owner", ".".join(map(str, info.path.as_list())), depth)
        for _ in range(FAULTS.get().dice(place).randrange(3)):
            await asyncio.sleep(0)
        return faulty(place, person(depth, place))


class ToolRow(Tool):
    """A stand-in class for ``Tool``, which compiled code reads from a tuple."""

    __graphql_shape__ = Shape(
        {
            "id": Access("{s}.row[0]", is_leaf=True),
            "name": Access("{s}.row[1]", is_leaf=True),
            "price": Access("{s}.row[2]", is_leaf=True),
            "made_at": Access("stamp({s}.row[3])", is_leaf=True),
        },
        {"stamp": lambda moment: moment.isoformat()},
    )

    def __init__(self, *row: Any) -> None:
        self.row = row

    id = property(lambda self: strawberry.ID(self.row[0]))
    name = property(lambda self: self.row[1])
    price = property(lambda self: self.row[2])
    made_at = property(lambda self: self.row[3])


@strawberry.type
class Person(Named):
    name: str | None
    colour: Colour
    colours: list[Colour | None]
    score: float
    is_active: bool
    grid: list[list[int | None]]
    tools: list[Tool]
    best: Tool | None
    rows: list[Tool] | None

    @strawberry.field
    def things(self, count: int = 2, wanted: Wanted | None = None) -> list["Thing | None"]:
        place = called("things", _key(self.id), count, str(wanted))
        made = [tool(f"{place}{n}") if n % 2 else person(0, f"{place}{n}") for n in range(count % 4)]
        return faulty(place, made)

    @strawberry.field
    async def named(self, ids: list[strawberry.ID] | None = None) -> list[Named]:
        place = called("named", _key(self.id), str(ids))
        await asyncio.sleep(0)
        return faulty(place, [tool(place), person(0, place), row(place)])

    @strawberry.field
    def strict(self, colour: Colour = Colour.GREEN, factor: float = 1.5) -> int:
        return faulty(called("strict", _key(self.id), colour.name, factor), 3)


Thing = Annotated[Person | Tool, strawberry.union("Thing")]


def _attribute(place: str, value: Any) -> Any:
    return faulty(place, value, may_raise=False)


def tool(place: str) -> Tool:
    """Build a tool whose attributes may be wrong."""
    dice = FAULTS.get().dice(place)
    return Tool(
        id=_attribute(f"{place}.id", strawberry.ID(f"t:{_digest(place)}")),
        name=_attribute(f"{place}.name", "hammer"),
        price=_attribute(f"{place}.price", dice.choice([None, 7, 2**31 - 1])),
        made_at=_attribute(f"{place}.made", datetime(2026, 1, 2, 3, 4, 5, 678, UTC)),
    )


def row(place: str) -> ToolRow:
    """Build a tool as a row, without faults."""
    return ToolRow(f"r:{_digest(place)}", "saw", None, datetime(2026, 2, 3, tzinfo=UTC))


def person(depth: int, place: str) -> Person:
    """Build a person whose attributes may be wrong."""
    dice = FAULTS.get().dice(place)
    return Person(
        id=_attribute(f"{place}.id", strawberry.ID(f"p:{_digest(place)}")),
        name=_attribute(f"{place}.name", "Ada"),
        colour=_attribute(f"{place}.colour", dice.choice(list(Colour))),
        colours=_attribute(f"{place}.colours", [Colour.GREEN, None, _attribute(f"{place}.one", Colour.RED)]),
        score=_attribute(f"{place}.score", dice.choice([1.5, 2, 1e300])),
        is_active=_attribute(f"{place}.active", True),
        grid=_attribute(f"{place}.grid", [[1, None], [], [_attribute(f"{place}.cell", 2)]]),
        tools=_attribute(f"{place}.tools", [tool(f"{place}.tool{n}") for n in range(min(max(depth, 0), 2))]),
        best=_attribute(f"{place}.best", tool(f"{place}.best") if depth > 0 else None),
        rows=_attribute(f"{place}.rows", (row(place), row(place + "2"))),
    )


@strawberry.type
class Query:
    ping: str = "pong"

    @strawberry.field
    async def person(self, key: strawberry.ID | None = None, depth: int = 2) -> Person | None:
        place = called("person", str(key), depth)
        return faulty(place, person(2, place))

    @strawberry.field
    def me(self, info: strawberry.Info, is_loud: bool | None = None) -> Person:
        place = called("me", is_loud, str(info.variable_values.get("unknown")))
        return faulty(place, person(1, place))

    @strawberry.field
    async def people(self, wanted: Wanted | None = None) -> list[Person]:
        place = called("people", str(wanted))
        return faulty(place, [person(1, place), person(2, f"{place}2")])

    @strawberry.field
    def named(self, key: strawberry.ID) -> Named | None:
        place = called("named", str(key))
        return faulty(place, tool(place))


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def touch(self, count: int = 1) -> Person | None:
        place = called("touch", count)
        await asyncio.sleep(0)
        return faulty(place, person(1, place))

    @strawberry.mutation
    def poke(self) -> int:
        return faulty(called("poke"), 3)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def people(self, count: int = 2) -> AsyncGenerator[Person | None]:
        for number in range(count % 4):
            place = called("people", number)
            yield faulty(place, person(1, place), may_raise=False)


class QuietSchema(strawberry.Schema):
    """A schema that does not log errors, since they are intended."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Do nothing, instead of logging."""
