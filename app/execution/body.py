"""Writes the source code of one generated function's body."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Generator as Steps
from collections.abc import Sequence
from contextlib import contextmanager

from graphql import (
    GraphQLAbstractType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    is_abstract_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetails

from app.execution.abstract import AbstractCompletion
from app.execution.leaf import leaf_expression
from app.execution.resolving import Resolution
from app.execution.run import CodeGenerator
from app.execution.shape import Access, Shape, Variant, shaped_classes
from app.execution.sources import KnownClasses, object_definition, plain_attribute

INDENT = "    "


class ValuePlace:
    """The context of a value in the generated code.

    ``details`` are the AST nodes of its field, ``parent`` the field's object type. ``path`` is the name of the variable
    that holds the response path, or ``None`` if no code below needs it. ``shape`` tells how the value is read.
    """

    __slots__ = ("details", "parent", "path", "shape")

    def __init__(
        self, details: list[FieldDetails], parent: GraphQLObjectType, path: str | None, shape: Shape | None = None
    ) -> None:
        self.details = details
        self.parent = parent
        self.path = path
        self.shape = shape

    def at(self, path: str | None) -> "ValuePlace":
        """Copy for the items of a list, whose path is in another variable."""
        return ValuePlace(self.details, self.parent, path, self.shape)


class Body:
    """Builds the body of one function.

    Each method returns a Python expression, and appends to ``lines`` the statements that have to run before it.
    """

    def __init__(self, generator: CodeGenerator) -> None:
        self._generator = generator
        self._depth = 1
        self.lines: list[str] = []

    def value(self, graphql_type: GraphQLOutputType, source: str, place: ValuePlace) -> str:
        """Complete a value of any output type; ``source`` is the expression that reads it."""
        generator = self._generator
        is_nullable = not isinstance(graphql_type, GraphQLNonNull)
        if isinstance(graphql_type, GraphQLNonNull):
            graphql_type = graphql_type.of_type
        if is_leaf_type(graphql_type):
            variable = generator.name("v")
            return leaf_expression(
                graphql_type, source, is_nullable=is_nullable, variable=variable, constant=generator.constant
            )
        missing = "None" if is_nullable else "unusual()"
        if isinstance(graphql_type, GraphQLList):
            return self._list(graphql_type.of_type, source, place, missing)
        if is_abstract_type(graphql_type):
            return self._abstract(graphql_type, source, place, missing)
        assert isinstance(graphql_type, GraphQLObjectType)  # noqa: S101  There is no other kind.
        return self._nullable_object(graphql_type, source, place, missing)

    def object(self, graphql_type: GraphQLObjectType, variable: str, place: ValuePlace) -> str:
        """Complete a non-null object that ``variable`` holds, with a branch for each stand-in class of its type."""
        if place.shape is not None:
            self._generator.include(place.shape)
            return self._fields(graphql_type, variable, place, place.shape)
        definition = object_definition(graphql_type)
        branches = shaped_classes(definition.origin) if definition is not None else []
        if not branches:
            return self._instance(graphql_type, variable, place)
        result = self._generator.name("o")
        for number, (stand_in, shape) in enumerate(branches):
            self._write(f"{'el' if number else ''}if type({variable}) is {self._generator.constant(stand_in)}:")
            with self._indented():
                self._generator.include(shape)
                self._write(f"{result} = {self._fields(graphql_type, variable, place, shape)}")
        self._write("else:")
        with self._indented():
            self._write(f"{result} = {self._instance(graphql_type, variable, place)}")
        return result

    def _instance(self, graphql_type: GraphQLObjectType, variable: str, place: ValuePlace) -> str:
        """Complete an object through its attributes, after checking that its class belongs to the type."""
        checked = KnownClasses(graphql_type, self._generator.outdate)
        condition = checked.condition(variable, self._generator.constant(checked))
        check = f"{self._generator.constant(checked.check)}({variable})"
        start = len(self.lines)
        expression = self._fields(graphql_type, variable, place, None)
        if len(self.lines) == start:
            return f"({expression} if {condition} or {check} else unusual())"
        self.lines.insert(start, f"{INDENT * self._depth}({condition}) or {check}")
        return expression

    def _nullable_object(self, graphql_type: GraphQLObjectType, source: str, place: ValuePlace, missing: str) -> str:
        value, result = self._generator.name("v"), self._generator.name("o")
        start = len(self.lines)
        with self._indented():
            expression = self.object(graphql_type, value, place)
        body = self.lines[start:]
        del self.lines[start:]
        if not body:
            return f"({missing} if ({value} := {source}) is None else {expression})"
        self._write(f"if ({value} := {source}) is None:")
        self._write(f"{INDENT}{result} = {missing}")
        self._write("else:")
        self.lines += body
        self._write(f"{INDENT}{result} = {expression}")
        return result

    def _list(self, graphql_type: GraphQLOutputType, source: str, place: ValuePlace, missing: str) -> str:
        name = self._generator.name
        value, result, item, number, path = name("v"), name("l"), name("x"), name("i"), name("p")
        start = len(self.lines)
        with self._indented(2):
            expression = self.value(graphql_type, item, place.at(path if place.path is not None else None))
        body = self.lines[start:]
        del self.lines[start:]
        self._write(f"if ({value} := {source}) is None:")
        self._write(f"{INDENT}{result} = {missing}")
        # Other iterables, such as generators, are left to graphql-core: reading one here would consume it.
        self._write(f"elif type({value}) is list or type({value}) is tuple:")
        with self._indented():
            if not body and place.path is None:
                self._write(f"{result} = [{expression} for {item} in {value}]")
            else:
                self._write(f"{result} = []")
                if place.path is None:
                    self._write(f"for {item} in {value}:")
                else:
                    self._write(f"for {number}, {item} in enumerate({value}):")
                    self._write(f"{INDENT}{path} = Path({place.path}, {number}, None)")
                self.lines += body
                self._write(f"{INDENT}{result}.append({expression})")
        self._write("else:")
        self._write(f"{INDENT}raise Unusual")
        return result

    def _abstract(self, graphql_type: GraphQLAbstractType, source: str, place: ValuePlace, missing: str) -> str:
        generator = self._generator
        if place.shape is not None and place.shape.variants:
            return self._variants(place.shape.variants, source, place, missing)
        completion = generator.constant(AbstractCompletion(generator, graphql_type, place.details, place.parent))
        value, result = generator.name("v"), generator.name("o")
        # This is a statement of its own because an inlined expression would call resolvers out of the fields' order.
        self._write(
            f"{result} = {missing} if ({value} := {source}) is None else {completion}({value}, run, {place.path})"
        )
        return result

    def _variants(self, variants: Sequence[Variant], source: str, place: ValuePlace, missing: str) -> str:
        value, result = self._generator.name("v"), self._generator.name("o")
        self._write(f"if ({value} := {source}) is None:")
        self._write(f"{INDENT}{result} = {missing}")
        for variant in variants:
            self._write(f"elif {variant.condition.replace('{s}', value)}:")
            graphql_type = self._generator.object_type(variant.type_name)
            with self._indented():
                expression = self.object(
                    graphql_type, value, ValuePlace(place.details, graphql_type, place.path, variant.shape)
                )
                self._write(f"{result} = {expression}")
        self._write("else:")
        self._write(f"{INDENT}raise Unusual")
        return result

    def _fields(self, graphql_type: GraphQLObjectType, variable: str, place: ValuePlace, shape: Shape | None) -> str:
        generator = self._generator
        result, waiting = "", list[str]()
        for response_name, selected in generator.subfields(graphql_type, place.details).items():
            definition = generator.definition(graphql_type, selected)
            if definition is None:
                continue
            if is_typename(selected):
                waiting.append(f"{response_name!r}: {graphql_type.name!r}")
                continue
            access = access_of(definition, shape)
            if access is not None:
                below = self._place_below(graphql_type, place, response_name, selected, definition, access)
                source = access.expression.replace("{s}", variable)
                value = source if access.is_leaf else self.value(definition.type, source, below)
                waiting.append(f"{response_name!r}: {value}")
                continue
            result = self._fill(result, waiting)
            waiting = []
            resolution = generator.constant(Resolution(generator, graphql_type, definition, selected, response_name))
            instance = variable if shape is None else shape.source.replace("{s}", variable)
            self._write(f"{resolution}(run, {result}, {instance}, {place.path})")
        if not result:
            return "{" + ", ".join(waiting) + "}"
        return self._fill(result, waiting)

    def _fill(self, result: str, entries: list[str]) -> str:
        """Write the entries so far to the response object, and return its variable.

        A resolver's result is put into that object, so it must exist, in the order of the fields, before the call.
        """
        if not result:
            result = self._generator.name("o")
            self._write(f"{result} = {{{', '.join(entries)}}}")
        elif entries:
            self._write(f"{result}.update({{{', '.join(entries)}}})")
        return result

    def _place_below(
        self,
        graphql_type: GraphQLObjectType,
        place: ValuePlace,
        response_name: str,
        selected: list[FieldDetails],
        definition: GraphQLField,
        access: Access,
    ) -> ValuePlace:
        path = None
        if not access.is_leaf and self._generator.needs_path(definition.type, selected, access.shape):
            path = self._generator.name("p")
            self._write(f"{path} = Path({place.path}, {response_name!r}, {graphql_type.name!r})")
        return ValuePlace(selected, graphql_type, path, access.shape)

    def _write(self, line: str) -> None:
        self.lines.append(INDENT * self._depth + line)

    @contextmanager
    def _indented(self, levels: int = 1) -> Steps[None]:
        self._depth += levels
        yield
        self._depth -= levels


def is_typename(details: list[FieldDetails]) -> bool:
    """Tell whether the field is the meta field ``__typename``, under any alias."""
    return details[0].node.name.value == "__typename"


def access_of(definition: GraphQLField, shape: Shape | None) -> Access | None:
    """Return how to read a field without calling a resolver, or ``None`` if it has a resolver."""
    plain = plain_attribute(definition)
    if plain is None or shape is None:
        return plain
    field = (definition.extensions or {})["strawberry-definition"]
    # A field that the shape does not declare is read from the instance that graphql-core would see.
    return shape.accesses.get(field.python_name) or Access(f"{shape.source}.{field.python_name}")
