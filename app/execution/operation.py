"""Operations of documents that are parsed and validated already, with the cheapest way to execute them."""

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
    """One operation of a valid document. Raises Unsupported for an operation that only graphql-core can execute.

    It builds executors without graphql-core's constructor, which takes as long as executing a small query.
    """

    def __init__(
        self, schema: GraphQLSchema, executor_class: type[CompiledExecutor], document: DocumentNode, name: str | None
    ) -> None:
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        chosen = [node for node in operations if name is None or (node.name and node.name.value == name)]
        fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
        if len(chosen) != 1 or chosen[0].directives or any(node.variable_definitions for node in fragments):
            raise Unsupported
        self._schema = schema
        self._node = chosen[0]
        if self._node.operation is OperationType.SUBSCRIPTION:
            raise Unsupported
        self.operation_type = StrawberryOperationType(self._node.operation.value)
        self.is_constant = not self._node.variable_definitions and all(
            isinstance(node, FieldNode) and node.name.value in _META_FIELDS
            for node in self._node.selection_set.selections
        )
        """True for pure introspection, whose result is always the same."""
        self._coerce = compile_coercion(schema, self._node)
        # The executor gets its other attributes before the fallback to graphql-core: see CompiledExecutor.__getattr__.
        parts: Mapping[str, Any] = {
            "schema": schema,
            "fragment_definitions": {node.name.value: node for node in fragments},
            "fragments": {node.name.value: FragmentDetails(node) for node in fragments},
            "operation": self._node,
            "is_awaitable": staticmethod(optimized_is_awaitable),
            "middleware_manager": None,
            "abort_signal": None,
            "hooks": None,
            "error_propagation": True,
            "hide_suggestions": False,
            "operation_extensions": None,
        }
        # Attributes of a class for this operation are shared; setting them on each executor would take longer.
        self._class = type("CompiledExecutor", (executor_class,), parts)

    def executor(
        self, variables: Mapping[str, Any] | None, context_value: object, root_value: object
    ) -> CompiledExecutor | list[GraphQLError]:
        """Build an executor for one request. Returns errors instead if the variables do not match their types."""
        raw_variables = variables or {}
        coerced = self._coerce(raw_variables) if self._coerce is not None else None
        if coerced is None:
            result = get_variable_values(self._schema, self._node.variable_definitions or (), dict(raw_variables))
            if isinstance(result, list):
                return result
            values = result
        else:
            values = VariableValues(_NO_SOURCES, coerced)
        executor = self._class.__new__(self._class)
        executor.variable_values = values
        executor.raw_variables = raw_variables
        executor.context_value = context_value
        executor.root_value = root_value
        return executor
