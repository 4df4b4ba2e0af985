"""Generates the Python that turns resolved values into the response.

For a selection such as ``{ edges { cursor } pageInfo { hasNextPage } }`` of a connection, the function is in essence::

    def complete(s, run, path):
        return {"edges": [{"cursor": x.cursor} for x in s.edges], "pageInfo": {"hasNextPage": …}}

with a check wherever a value might not be what the schema says. Which fields there are, under which names and in which
order, graphql-core's own field collection decides.
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
    """Generates functions for one operation, with the values that its ``@skip`` and ``@include`` have now.

    All functions share one namespace and one numbering, so that names never collide.
    """

    def __init__(self, executor: ExecutionRun) -> None:
        self.executor = executor
        self.schema = executor.schema
        self.characters = 0
        self.is_outdated = False
        """Whether a class has come into being that stands in for one of the types, and has no code of its own."""
        self.names: dict[str, Any] = {"unusual": unusual, "Unusual": Unusual, "Path": Path}
        self._numbers = count(1)

    def completion(self, kind: GraphQLOutputType, details: list[FieldDetails], parent: GraphQLObjectType) -> Completion:
        """The function for what the resolver of a field of ``parent`` gives."""
        path = "path" if self.needs_path(kind, details) else None
        return self._function(lambda body: body.value(kind, "s", ValuePlace(details, parent, path)))

    def object_completion(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> Completion:
        """The function for an object whose type was told from its value."""
        return self._function(lambda body: body.object(kind, "s", ValuePlace(details, kind, "path")))

    def subfields(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> GroupedFieldSet:
        """The fields that are selected of an object."""
        executor = self.executor
        collected = collect_subfields(
            self.schema,
            executor.fragments,
            executor.variable_values,
            executor.operation,
            kind,
            details,
            executor.hide_suggestions,
        )
        if collected.new_defer_usages:
            raise Unsupported
        return collected.grouped_field_set

    def definition(self, parent: GraphQLObjectType, details: list[FieldDetails]) -> GraphQLField | None:
        """The definition of a field; ``None`` for one that the schema does not have, which is left out."""
        return self.schema.get_field(parent, details[0].node.name.value)

    def needs_path(self, kind: GraphQLOutputType, details: list[FieldDetails], shape: Shape | None = None) -> bool:
        """Tell whether completing this type needs the response path: for a resolver, or an abstract type, below it."""
        while isinstance(kind, GraphQLNonNull | GraphQLList):
            kind = kind.of_type
        if is_leaf_type(kind):
            return False
        if not isinstance(kind, GraphQLObjectType):
            variants = shape.variants if shape is not None else ()
            found = [self.needs_path(self.object_type(each.type_name), details, each.shape) for each in variants]
            return not found or any(found)
        for selected in self.subfields(kind, details).values():
            definition = self.definition(kind, selected)
            if definition is None or is_typename(selected):
                continue
            access = access_of(definition, shape)
            if access is None or (not access.is_leaf and self.needs_path(definition.type, selected, access.shape)):
                return True
        return False

    def object_type(self, name: str) -> GraphQLObjectType:
        """The object type of that name. Raises ValueError where there is none."""
        found = self.schema.get_type(name)
        if not isinstance(found, GraphQLObjectType):
            raise ValueError(f"{name} is no object type")  # noqa: TRY004  It is a name that is wrong.
        return found

    def name(self, prefix: str) -> str:
        """A name that nothing else has."""
        return f"{prefix}{next(self._numbers)}"

    def constant(self, value: object) -> str:
        """The name of an object in the generated code."""
        name = self.name("K")
        self.names[name] = value
        return name

    def include(self, shape: Shape) -> None:
        """Make the names of a shape's expressions known. Raises ValueError where one has another meaning already."""
        for name, value in shape.names.items():
            if self.names.setdefault(name, value) is not value:
                raise ValueError(f"{name} has two meanings")

    def outdate(self) -> None:
        """Note that what was generated should be generated anew."""
        self.is_outdated = True

    def forget(self, variables: Iterable[str]) -> None:
        """Let go of the request but for these variables. What is generated later is for types that come up later."""
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
            # Python nests loops and brackets to some depth only.
            raise Unsupported from None
        return self.names[name]
