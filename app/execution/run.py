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
    """The result of a resolver: a value or an exception. A value that was not awaited may be an awaitable."""

    value: Any = None
    error: Exception | None = None
    was_awaited: bool = False

    async def again(self) -> object:
        """For graphql-core to await, in the place of the awaitable that has been."""
        if self.error is not None:
            raise self.error
        return self.value


class Settles(Protocol):
    """A selected field that completes what its resolver gave."""

    def settle(self, run: "ExecutionRun", pending: "Pending", value: Any) -> None:  # noqa: ANN401  Resolvers give anything.
        """Complete what was awaited."""
        ...


@dataclass(slots=True)
class Pending:
    """A field that waits for its resolver. Its place in ``parent`` is kept by ``None``."""

    resolution: Settles
    awaitable: Awaitable[Any]
    parent: dict[str, Any]
    path: Path


class ExecutionRun(StrawberryGraphQLCoreExecutionContext):
    """The execution of one operation.

    ``answers`` is what resolvers gave, by path; ``pending`` the fields that wait for theirs.
    """

    answers: dict[Path, Resolved]
    pending: list[Pending]
    is_unusual: bool
    field_resolver = staticmethod(default_field_resolver)
    type_resolver: Any = staticmethod(default_type_resolver)


Completion: TypeAlias = Callable[[Any, ExecutionRun, Path], Any]
"""Turns a resolved value into its part of the response. Whatever it raises, graphql-core does it then."""


class CodeGenerator(Protocol):
    """Generates the functions of one operation; all share one namespace."""

    executor: ExecutionRun
    schema: GraphQLSchema

    def completion(self, kind: GraphQLOutputType, details: list[FieldDetails], parent: GraphQLObjectType) -> Completion:
        """The function for what the resolver of a field of ``parent`` gives."""
        ...

    def object_completion(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> Completion:
        """The function for an object whose type was told from its value."""
        ...

    def subfields(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> GroupedFieldSet:
        """The fields that are selected of an object."""
        ...

    def definition(self, parent: GraphQLObjectType, details: list[FieldDetails]) -> GraphQLField | None:
        """The definition of a field; ``None`` for one that the schema does not have, which is left out."""
        ...

    def needs_path(self, kind: GraphQLOutputType, details: list[FieldDetails], shape: Shape | None = None) -> bool:
        """Tell whether completing this type needs the response path: for a resolver, or an abstract type, below it."""
        ...

    def object_type(self, name: str) -> GraphQLObjectType:
        """The object type of that name. Raises ValueError where there is none."""
        ...

    def name(self, prefix: str) -> str:
        """A name that nothing else has."""
        ...

    def constant(self, value: object) -> str:
        """The name of an object in the generated code."""
        ...

    def include(self, shape: Shape) -> None:
        """Make the names of a shape's expressions known. Raises ValueError where one has another meaning already."""
        ...

    def outdate(self) -> None:
        """Note that what was generated should be generated anew."""
        ...
