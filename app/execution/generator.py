"""Generates the Python that turns resolved values into the response.

For a selection such as ``{ edges { cursor } pageInfo { hasNextPage } }`` of a connection, the function is in essence::

    def complete(s, run, path):
        return {"edges": [{"cursor": x.cursor} for x in s.edges], "pageInfo": {"hasNextPage": …}}

with a check wherever a value might not be what the schema says. graphql-core's own field collection decides which
fields there are, under which names and in which order.
"""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Callable, Iterable
from copy import copy
from itertools import count
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetails, GroupedFieldSet, collect_subfields
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from app.execution.body import INDENT, Body, ValuePlace, access_of, is_typename
from app.execution.leaf import Unusual, unusual
from app.execution.run import Completion, ExecutionRun
from app.execution.shape import Shape
from app.execution.sources import Unsupported


class Generator:
    """Generates functions for one operation and one combination of the values of ``@skip`` and ``@include``.

    All functions share one namespace and one numbering, so that names never collide.
    """

    def __init__(self, executor: ExecutionRun) -> None:
        self.executor = executor
        self.schema = executor.schema
        self.characters = 0
        self.is_outdated = False
        """Set when a value's class turns out to be a stand-in that was defined after the code was generated."""
        self.names: dict[str, Any] = {"unusual": unusual, "Unusual": Unusual, "Path": Path}
        self._numbers = count(1)

    def completion(
        self, graphql_type: GraphQLOutputType, details: list[FieldDetails], parent: GraphQLObjectType
    ) -> Completion:
        """Generate the function that completes the result of a field's resolver; ``parent`` has the field."""
        path = "path" if self.needs_path(graphql_type, details) else None
        return self._function(lambda body: body.value(graphql_type, "s", ValuePlace(details, parent, path)))

    def object_completion(self, graphql_type: GraphQLObjectType, details: list[FieldDetails]) -> Completion:
        """Generate the function for one possible object type of an interface or a union."""
        return self._function(lambda body: body.object(graphql_type, "s", ValuePlace(details, graphql_type, "path")))

    def subfields(self, graphql_type: GraphQLObjectType, details: list[FieldDetails]) -> GroupedFieldSet:
        """Collect the selected fields of an object type. Raises Unsupported for ``@defer``."""
        executor = self.executor
        collected = collect_subfields(
            self.schema,
            executor.fragments,
            executor.variable_values,
            executor.operation,
            graphql_type,
            details,
            executor.hide_suggestions,
        )
        if collected.new_defer_usages:
            raise Unsupported
        return collected.grouped_field_set

    def definition(self, parent: GraphQLObjectType, details: list[FieldDetails]) -> GraphQLField | None:
        """Return a field's definition; ``None`` for an unknown field, which the response omits, as in graphql-core."""
        return self.schema.get_field(parent, details[0].node.name.value)

    def needs_path(
        self, graphql_type: GraphQLOutputType, details: list[FieldDetails], shape: Shape | None = None
    ) -> bool:
        """Tell whether generated code needs the response path, since a resolver or an abstract type is below."""
        while isinstance(graphql_type, GraphQLNonNull | GraphQLList):
            graphql_type = graphql_type.of_type
        if is_leaf_type(graphql_type):
            return False
        if not isinstance(graphql_type, GraphQLObjectType):
            variants = shape.variants if shape is not None else ()
            needed = [self.needs_path(self.object_type(each.type_name), details, each.shape) for each in variants]
            return not needed or any(needed)
        for selected in self.subfields(graphql_type, details).values():
            definition = self.definition(graphql_type, selected)
            if definition is None or is_typename(selected):
                continue
            access = access_of(definition, shape)
            if access is None or (not access.is_leaf and self.needs_path(definition.type, selected, access.shape)):
                return True
        return False

    def object_type(self, name: str) -> GraphQLObjectType:
        """Look up an object type. Raises ValueError if the schema has none of that name."""
        graphql_type = self.schema.get_type(name)
        if not isinstance(graphql_type, GraphQLObjectType):
            raise ValueError(f"{name} is no object type")  # noqa: TRY004  It is a name that is wrong.
        return graphql_type

    def name(self, prefix: str) -> str:
        """Return a name that is unique in the namespace."""
        return f"{prefix}{next(self._numbers)}"

    def constant(self, value: object) -> str:
        """Put an object into the namespace, and return the name by which generated code refers to it."""
        name = self.name("K")
        self.names[name] = value
        return name

    def include(self, shape: Shape) -> None:
        """Put the names that a shape's expressions use into the namespace. Raises ValueError for a conflicting name."""
        for name, value in shape.names.items():
            if self.names.setdefault(name, value) is not value:
                raise ValueError(f"{name} has two meanings")

    def outdate(self) -> None:
        """Request that the plan is generated again the next time."""
        self.is_outdated = True

    def forget(self, variables: Iterable[str]) -> None:
        """Drop the request's context and all variables but these, so that a cached plan does not keep them alive.

        The rest of the executor stays: code for abstract types is generated when the first value of a type comes.
        """
        bare = copy(self.executor)
        bare.context_value = bare.root_value = None
        sources, coerced = bare.variable_values
        bare.variable_values = VariableValues(
            {name: sources[name] for name in variables if name in sources},
            {name: coerced[name] for name in variables if name in coerced},
        )
        bare.answers, bare.pending = {}, []
        self.executor = bare

    def _function(self, write: Callable[[Body], str]) -> Completion:
        body = Body(self)
        result = write(body)
        name = self.name("complete")
        source = "\n".join([f"def {name}(s, run, path):", *body.lines, f"{INDENT}return {result}", ""])
        self.characters += len(source)
        try:
            exec(compile(source, f"<{name}>", "exec"), self.names)  # noqa: S102  It holds names of the schema and our own.
        except (SyntaxError, MemoryError, RecursionError):
            # Python limits how deep loops and brackets may nest.
            raise Unsupported from None
        return self.names[name]
