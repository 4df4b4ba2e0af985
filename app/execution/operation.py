"""Operations that were parsed and validated before, ready to execute without anything of that."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.values import VariableValues, get_variable_values
from graphql.language import OperationType
from strawberry.execution import optimized_is_awaitable
from strawberry.types.graphql import OperationType as StrawberryOperationType

from app.execution.arguments import compile_coercion
from app.execution.executor import CompiledExecutor
from app.execution.sources import Unsupported

_NO_SOURCES: dict[str, Any] = {}
_META_FIELDS = frozenset({"__schema", "__type", "__typename"})


class Operation:
    """One operation of a valid document. Raises Unsupported for what is best left to graphql-core from the start.

    An executor is made from its parts without what graphql-core does at the beginning of each request: that takes
    as long as answering a small query.
    """

    def __init__(
        self, schema: GraphQLSchema, executor_class: type[CompiledExecutor], document: DocumentNode, name: str | None
    ) -> None:
        operations = [found for found in document.definitions if isinstance(found, OperationDefinitionNode)]
        chosen = [found for found in operations if name is None or (found.name and found.name.value == name)]
        fragments = [found for found in document.definitions if isinstance(found, FragmentDefinitionNode)]
        if len(chosen) != 1 or chosen[0].directives or any(found.variable_definitions for found in fragments):
            raise Unsupported
        self._schema = schema
        self._node = chosen[0]
        if self._node.operation is OperationType.SUBSCRIPTION:
            raise Unsupported
        self.kind = StrawberryOperationType(self._node.operation.value)
        self.is_constant = not self._node.variable_definitions and all(
            isinstance(found, FieldNode) and found.name.value in _META_FIELDS
            for found in self._node.selection_set.selections
        )
        """Whether it asks for nothing but the schema, so that its answer is always the same."""
        self._coerce = compile_coercion(schema, self._node)
        # What else an executor has it gets when graphql-core takes over: see CompiledExecutor.__getattr__.
        parts: Mapping[str, Any] = {
            "schema": schema,
            "fragment_definitions": {found.name.value: found for found in fragments},
            "fragments": {found.name.value: FragmentDetails(found) for found in fragments},
            "operation": self._node,
            "is_awaitable": staticmethod(optimized_is_awaitable),
            "middleware_manager": None,
            "abort_signal": None,
            "hooks": None,
            "error_propagation": True,
            "hide_suggestions": False,
            "operation_extensions": None,
        }
        # A class of the operation's own, which has them: putting them into each executor takes longer.
        self._class = type("CompiledExecutor", (executor_class,), parts)

    def executor(
        self, variables: Mapping[str, Any] | None, context_value: object, root_value: object
    ) -> CompiledExecutor | list[GraphQLError]:
        """What executes it once; errors where the variables are not what they are declared to be."""
        given = variables or {}
        coerced = self._coerce(given) if self._coerce is not None else None
        if coerced is None:
            found = get_variable_values(self._schema, self._node.variable_definitions or (), dict(given))
            if isinstance(found, list):
                return found
            values = found
        else:
            values = VariableValues(_NO_SOURCES, coerced)
        executor = self._class.__new__(self._class)
        executor.variable_values = values
        executor.raw_variables = given
        executor.context_value = context_value
        executor.root_value = root_value
        return executor
