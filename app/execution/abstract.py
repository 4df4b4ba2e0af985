"""Completion of interfaces and unions, where the object type is resolved from the value at run time."""

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
    """Completes values of an abstract type. Code for each possible object type is generated when its first value comes.

    Where the type depends on the Python class alone, the class is cached, and ``resolve_type`` is not called again.
    """

    def __init__(
        self,
        generator: CodeGenerator,
        graphql_type: GraphQLAbstractType,
        details: list[FieldDetails],
        parent: GraphQLObjectType,
    ) -> None:
        self._generator = generator
        self._abstract_type = graphql_type
        self._details = details
        self._parent = parent
        self._possible = {each.name: each for each in generator.schema.get_possible_types(graphql_type)}
        self._by_type: dict[str, Completion] = {}
        self._by_class: dict[type, Completion] = {}

    def __call__(self, value: Any, run: ExecutionRun, path: Path) -> object:  # noqa: ANN401  Resolvers give anything.
        """Complete one value that is not null."""
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
        info = run.build_resolve_info(definition, [each.node for each in self._details], self._parent, field_path)
        name = (self._abstract_type.resolve_type or run.type_resolver)(value, info, self._abstract_type)
        graphql_type = self._possible.get(name) if isinstance(name, str) else None
        if graphql_type is None:
            raise Unusual
        completion = self._by_type.get(graphql_type.name)
        if completion is None:
            completion = self._by_type[graphql_type.name] = self._generator.object_completion(
                graphql_type, self._details
            )
        if self._is_told_by_class(value):
            self._by_class[type(value)] = completion
        return completion

    def _is_told_by_class(self, value: object) -> bool:
        """Tell whether Strawberry's default type resolution applies, and depends on nothing but the value's class."""
        own = getattr(type(value), "__strawberry_definition__", None)
        if not isinstance(own, StrawberryObjectDefinition) or is_cast(value):
            return False
        if own.origin is not type(value) and SHAPE_ATTRIBUTE not in vars(type(value)):
            return False
        if own.is_graphql_generic or own.concrete_of is not None:
            return False
        if isinstance(self._abstract_type, GraphQLInterfaceType):
            interface = (self._abstract_type.extensions or {}).get("strawberry-definition")
            if getattr(interface, "resolve_type", None) is not None:
                return False
        definitions = [object_definition(graphql_type) for graphql_type in self._possible.values()]
        return all(each is not None and each.is_type_of is None for each in definitions)
