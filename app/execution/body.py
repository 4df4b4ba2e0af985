"""Writes the body of one generated function: an expression for each value, and the statements before it."""

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
from app.execution.sources import Checked, object_definition, plain_attribute

INDENT = "    "


class ValuePlace:
    """Where a value stands: the field that gives it, how it is read, the variable that holds its path where needed."""

    __slots__ = ("details", "parent", "path", "shape")

    def __init__(
        self, details: list[FieldDetails], parent: GraphQLObjectType, path: str | None, shape: Shape | None = None
    ) -> None:
        self.details = details
        self.parent = parent
        self.path = path
        self.shape = shape

    def at(self, path: str | None) -> "ValuePlace":
        """The same, for an item of a list."""
        return ValuePlace(self.details, self.parent, path, self.shape)


class Body:
    """The body of one function while it is written.

    Each method gives back an expression. What takes statements is written to ``lines`` before.
    """

    def __init__(self, generator: CodeGenerator) -> None:
        self._generator = generator
        self._depth = 1
        self.lines: list[str] = []

    def value(self, kind: GraphQLOutputType, source: str, place: ValuePlace) -> str:
        """A value of any type, which the expression ``source`` reads."""
        generator = self._generator
        is_nullable = not isinstance(kind, GraphQLNonNull)
        if isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        if is_leaf_type(kind):
            variable = generator.name("v")
            return leaf_expression(
                kind, source, is_nullable=is_nullable, variable=variable, constant=generator.constant
            )
        missing = "None" if is_nullable else "unusual()"
        if isinstance(kind, GraphQLList):
            return self._list(kind.of_type, source, place, missing)
        if is_abstract_type(kind):
            return self._abstract(kind, source, place, missing)
        assert isinstance(kind, GraphQLObjectType)  # noqa: S101  There is no other kind.
        return self._nullable_object(kind, source, place, missing)

    def object(self, kind: GraphQLObjectType, variable: str, place: ValuePlace) -> str:
        """An object that is not null."""
        if place.shape is not None:
            self._generator.include(place.shape)
            return self._fields(kind, variable, place, place.shape)
        definition = object_definition(kind)
        branches = shaped_classes(definition.origin) if definition is not None else []
        if not branches:
            return self._instance(kind, variable, place)
        result = self._generator.name("o")
        for number, (stand_in, shape) in enumerate(branches):
            self._write(f"{'el' if number else ''}if type({variable}) is {self._generator.constant(stand_in)}:")
            with self._indented():
                self._generator.include(shape)
                self._write(f"{result} = {self._fields(kind, variable, place, shape)}")
        self._write("else:")
        with self._indented():
            self._write(f"{result} = {self._instance(kind, variable, place)}")
        return result

    def _instance(self, kind: GraphQLObjectType, variable: str, place: ValuePlace) -> str:
        """An object that is read by its attributes, once it is seen to be what the type takes."""
        checked = Checked(kind, self._generator.outdate)
        condition = checked.condition(variable, self._generator.constant(checked))
        check = f"{self._generator.constant(checked.check)}({variable})"
        start = len(self.lines)
        expression = self._fields(kind, variable, place, None)
        if len(self.lines) == start:
            return f"({expression} if {condition} or {check} else unusual())"
        self.lines.insert(start, f"{INDENT * self._depth}({condition}) or {check}")
        return expression

    def _nullable_object(self, kind: GraphQLObjectType, source: str, place: ValuePlace, missing: str) -> str:
        value, result = self._generator.name("v"), self._generator.name("o")
        start = len(self.lines)
        with self._indented():
            expression = self.object(kind, value, place)
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

    def _list(self, kind: GraphQLOutputType, source: str, place: ValuePlace, missing: str) -> str:
        name = self._generator.name
        value, result, item, number, path = name("v"), name("l"), name("x"), name("i"), name("p")
        start = len(self.lines)
        with self._indented(2):
            expression = self.value(kind, item, place.at(path if place.path is not None else None))
        body = self.lines[start:]
        del self.lines[start:]
        self._write(f"if ({value} := {source}) is None:")
        self._write(f"{INDENT}{result} = {missing}")
        # Other iterables are graphql-core's, which looks at them with care.
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

    def _abstract(self, kind: GraphQLAbstractType, source: str, place: ValuePlace, missing: str) -> str:
        generator = self._generator
        if place.shape is not None and place.shape.variants:
            return self._variants(place.shape.variants, source, place, missing)
        completion = generator.constant(AbstractCompletion(generator, kind, place.details, place.parent))
        value, result = generator.name("v"), generator.name("o")
        # A statement, so that the resolvers below are called in the order of the fields.
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
            kind = self._generator.object_type(variant.type_name)
            with self._indented():
                expression = self.object(kind, value, ValuePlace(place.details, kind, place.path, variant.shape))
                self._write(f"{result} = {expression}")
        self._write("else:")
        self._write(f"{INDENT}raise Unusual")
        return result

    def _fields(self, kind: GraphQLObjectType, variable: str, place: ValuePlace, shape: Shape | None) -> str:
        generator = self._generator
        result, waiting = "", list[str]()
        for response_name, selected in generator.subfields(kind, place.details).items():
            definition = generator.definition(kind, selected)
            if definition is None:
                continue
            if is_typename(selected):
                waiting.append(f"{response_name!r}: {kind.name!r}")
                continue
            access = access_of(definition, shape)
            if access is not None:
                below = self._place_below(kind, place, response_name, selected, definition, access)
                source = access.expression.replace("{s}", variable)
                value = source if access.is_leaf else self.value(definition.type, source, below)
                waiting.append(f"{response_name!r}: {value}")
                continue
            result = self._fill(result, waiting)
            waiting = []
            resolution = generator.constant(Resolution(generator, kind, definition, selected, response_name))
            instance = variable if shape is None else shape.source.replace("{s}", variable)
            self._write(f"{resolution}(run, {result}, {instance}, {place.path})")
        if not result:
            return "{" + ", ".join(waiting) + "}"
        return self._fill(result, waiting)

    def _fill(self, result: str, entries: list[str]) -> str:
        """Write what is known of an object so far, since a resolver comes next; the variable that holds it."""
        if not result:
            result = self._generator.name("o")
            self._write(f"{result} = {{{', '.join(entries)}}}")
        elif entries:
            self._write(f"{result}.update({{{', '.join(entries)}}})")
        return result

    def _place_below(
        self,
        kind: GraphQLObjectType,
        place: ValuePlace,
        response_name: str,
        selected: list[FieldDetails],
        definition: GraphQLField,
        access: Access,
    ) -> ValuePlace:
        path = None
        if not access.is_leaf and self._generator.needs_path(definition.type, selected, access.shape):
            path = self._generator.name("p")
            self._write(f"{path} = Path({place.path}, {response_name!r}, {kind.name!r})")
        return ValuePlace(selected, kind, path, access.shape)

    def _write(self, line: str) -> None:
        self.lines.append(INDENT * self._depth + line)

    @contextmanager
    def _indented(self, levels: int = 1) -> Steps[None]:
        self._depth += levels
        yield
        self._depth -= levels


def is_typename(details: list[FieldDetails]) -> bool:
    """Whether the field is ``__typename``."""
    return details[0].node.name.value == "__typename"


def access_of(definition: GraphQLField, shape: Shape | None) -> Access | None:
    """How a field is read; ``None`` where its resolver is called."""
    plain = plain_attribute(definition)
    if plain is None or shape is None:
        return plain
    field = (definition.extensions or {})["strawberry-definition"]
    # What the shape leaves out is read from what graphql-core would see.
    return shape.accesses.get(field.python_name) or Access(f"{shape.source}.{field.python_name}")
