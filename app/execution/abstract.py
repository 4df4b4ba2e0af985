"""Interfaces and unions: the object type is told from the value."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from typing import Any

from graphql import GraphQLAbstractType, GraphQLInterfaceType, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE

from app.execution.leaf import Unusual
from app.execution.run import CodeGenerator, Completion, ExecutionRun
from app.execution.shape import SHAPE_ATTRIBUTE
from app.execution.sources import is_cast, object_definition


class AbstractCompletion:
    """Completes values of an abstract type; a function is generated for each object type when one first comes."""

    def __init__(
        self,
        generator: CodeGenerator,
        kind: GraphQLAbstractType,
        details: list[FieldDetails],
        parent: GraphQLObjectType,
    ) -> None:
        self._generator = generator
        self._kind = kind
        self._details = details
        self._parent = parent
        self._possible = {found.name: found for found in generator.schema.get_possible_types(kind)}
        self._by_type: dict[str, Completion] = {}
        self._by_class: dict[type, Completion] = {}

    def __call__(self, value: Any, run: ExecutionRun, path: Path) -> object:  # noqa: ANN401  Resolvers give anything.
        """The value's part of the response."""
        completion = self._by_class.get(type(value))
        if completion is None or TYPE_CAST_ATTRIBUTE in value.__dict__:
            completion = self._find(value, run, path)
        return completion(value, run, path)

    def _find(self, value: Any, run: ExecutionRun, path: Path) -> Completion:  # noqa: ANN401  As above.
        field_path = path
        while isinstance(field_path.key, int) and field_path.prev is not None:
            field_path = field_path.prev
        definition = self._generator.definition(self._parent, self._details)
        if definition is None:
            raise Unusual
        info = run.build_resolve_info(definition, [found.node for found in self._details], self._parent, field_path)
        name = (self._kind.resolve_type or run.type_resolver)(value, info, self._kind)
        kind = self._possible.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Unusual
        completion = self._by_type.get(kind.name)
        if completion is None:
            completion = self._by_type[kind.name] = self._generator.object_completion(kind, self._details)
        if self._is_told_by_class(value):
            self._by_class[type(value)] = completion
        return completion

    def _is_told_by_class(self, value: object) -> bool:
        """Whether Strawberry itself tells the type, and by the class alone."""
        own = getattr(type(value), "__strawberry_definition__", None)
        if not isinstance(own, StrawberryObjectDefinition) or is_cast(value):
            return False
        if own.origin is not type(value) and SHAPE_ATTRIBUTE not in vars(type(value)):
            return False
        if own.is_graphql_generic or own.concrete_of is not None:
            return False
        if isinstance(self._kind, GraphQLInterfaceType):
            interface = (self._kind.extensions or {}).get("strawberry-definition")
            if getattr(interface, "resolve_type", None) is not None:
                return False
        definitions = [object_definition(kind) for kind in self._possible.values()]
        return all(found is not None and found.is_type_of is None for found in definitions)
