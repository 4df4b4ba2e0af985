"""Shared types of compiled execution: the execution context of one request, and the interface of the code generator."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from graphql import GraphQLField, GraphQLObjectType, GraphQLOutputType, GraphQLSchema
from graphql.execution.collect_fields import FieldDetails, GroupedFieldSet
from graphql.execution.executor import default_field_resolver, default_type_resolver
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.execution.shape import Shape


@dataclass(slots=True)
class Resolved:
    """The outcome of a resolver: a value or an exception. Unless ``was_awaited``, the value may be an awaitable."""

    value: Any = None
    error: Exception | None = None
    was_awaited: bool = False

    async def again(self) -> object:
        """Give the outcome as an awaitable, to replace the resolver's own, which can be awaited only once."""
        if self.error is not None:
            raise self.error
        return self.value


class Settles(Protocol):
    """The part of ``Resolution`` that ``Pending`` needs, as a protocol to avoid an import cycle."""

    def settle(self, run: "ExecutionRun", pending: "Pending", value: Any) -> None:  # noqa: ANN401  Resolvers give anything.
        """Complete an awaited result, which may add pending fields below it."""
        ...


@dataclass(slots=True)
class Pending:
    """A field whose resolver's result has to be awaited. Until then ``parent`` has null for it, to keep the order."""

    resolution: Settles
    awaitable: Awaitable[Any]
    parent: dict[str, Any]
    path: Path


class ExecutionRun(StrawberryGraphQLCoreExecutionContext):
    """State of one operation's execution.

    ``answers`` holds the outcomes of resolvers by response path, for the fallback; ``pending`` the fields to await.
    ``is_unusual`` is set when graphql-core has to execute as the fallback.
    """

    answers: dict[Path, Resolved]
    pending: list[Pending]
    is_unusual: bool
    field_resolver = staticmethod(default_field_resolver)
    type_resolver: Any = staticmethod(default_type_resolver)


Completion: TypeAlias = Callable[[Any, ExecutionRun, Path], Any]
"""Completes a resolved value. Any exception means that graphql-core has to execute as the fallback."""


class CodeGenerator(Protocol):
    """Generates the functions of one operation; all share one namespace."""

    executor: ExecutionRun
    schema: GraphQLSchema

    def completion(
        self, graphql_type: GraphQLOutputType, details: list[FieldDetails], parent: GraphQLObjectType
    ) -> Completion:
        """Generate the function that completes the result of a field's resolver; ``parent`` has the field."""
        ...

    def object_completion(self, graphql_type: GraphQLObjectType, details: list[FieldDetails]) -> Completion:
        """Generate the function for one possible object type of an interface or a union."""
        ...

    def subfields(self, graphql_type: GraphQLObjectType, details: list[FieldDetails]) -> GroupedFieldSet:
        """Collect the selected fields of an object type. Raises Unsupported for ``@defer``."""
        ...

    def definition(self, parent: GraphQLObjectType, details: list[FieldDetails]) -> GraphQLField | None:
        """Return a field's definition; ``None`` for an unknown field, which the response omits, as in graphql-core."""
        ...

    def needs_path(
        self, graphql_type: GraphQLOutputType, details: list[FieldDetails], shape: Shape | None = None
    ) -> bool:
        """Tell whether generated code needs the response path, since a resolver or an abstract type is below."""
        ...

    def object_type(self, name: str) -> GraphQLObjectType:
        """Look up an object type. Raises ValueError if the schema has none of that name."""
        ...

    def name(self, prefix: str) -> str:
        """Return a name that is unique in the namespace."""
        ...

    def constant(self, value: object) -> str:
        """Put an object into the namespace, and return the name by which generated code refers to it."""
        ...

    def include(self, shape: Shape) -> None:
        """Put the names that a shape's expressions use into the namespace. Raises ValueError for a conflicting name."""
        ...

    def outdate(self) -> None:
        """Request that the plan is generated again the next time."""
        ...
