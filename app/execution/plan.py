"""Execution plans: the functions generated for one operation, and the cache that keeps them."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from typing import Any

from graphql import (
    DirectiveNode,
    ExecutableDefinitionNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.collect_fields import collect_fields

from app.execution.body import is_typename
from app.execution.cache import ByteCache
from app.execution.generator import Generator
from app.execution.resolving import Resolution, settle
from app.execution.run import ExecutionRun
from app.execution.sources import Unsupported

# Memory of a plan for each character of its source code, measured with tracemalloc on the benchmarks' operations.
BYTES_PER_CHARACTER = 12
# An operation is compiled at its second execution, since compiling costs more than executing once.
SIGHTINGS = 2
# Combinations of the variables of @skip and @include that are compiled for one operation.
MAX_COMBINATIONS = 32


class Plan:
    """The root fields of an operation, with the generated functions that complete them."""

    def __init__(self, executor: ExecutionRun, directive_variables: tuple[str, ...]) -> None:
        root = executor.schema.get_root_type(executor.operation.operation)
        if root is None:
            raise Unsupported
        collected = collect_fields(
            executor.schema,
            executor.fragments,
            executor.variable_values,
            root,
            executor.operation,
            executor.hide_suggestions,
        )
        if collected.new_defer_usages:
            raise Unsupported
        generator = Generator(executor)
        self._fields: list[tuple[str, Resolution | str]] = []
        for response_name, selected in collected.grouped_field_set.items():
            definition = generator.definition(root, selected)
            if is_typename(selected):
                self._fields.append((response_name, root.name))
            elif selected[0].node.name.value.startswith("__"):
                raise Unsupported
            elif definition is not None:
                field = Resolution(generator, root, definition, selected, response_name)
                self._fields.append((response_name, field))
        only = self._fields[0][1] if len(self._fields) == 1 else None
        self.only = only if isinstance(only, Resolution) and only.is_coroutine else None
        """The field, if it is the only one and its resolver is a coroutine function, as in most operations."""
        self.size_bytes = generator.characters * BYTES_PER_CHARACTER
        self._generator = generator
        # The executor was needed to collect fields. It must not outlive the request, whose context it holds.
        generator.forget(directive_variables)

    @property
    def is_outdated(self) -> bool:
        """Tell whether a stand-in class appeared after the code was generated, so that it should be generated again."""
        return self._generator.is_outdated

    def run(self, executor: ExecutionRun) -> dict[str, Any]:
        """Start all root fields at once. Awaitable results are appended to ``executor.pending``."""
        response: dict[str, Any] = {}
        for response_name, field in self._fields:
            if isinstance(field, str):
                response[response_name] = field
            else:
                field(executor, response, executor.root_value, None)
        return response

    async def run_serially(self, executor: ExecutionRun) -> dict[str, Any]:
        """Start each root field after the one before it is complete, as mutations need; stop at the first failure.

        The remaining fields are then left to the fallback.
        """
        response: dict[str, Any] = {}
        for response_name, field in self._fields:
            if isinstance(field, str):
                response[response_name] = field
                continue
            field(executor, response, executor.root_value, None)
            if executor.pending:
                await settle(executor)
            if executor.is_unusual:
                break
        return response


class Plans:
    """Cache of plans by the identity of the operation's AST node, bounded by bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.kept: ByteCache[int, _PlansOfOperation] = ByteCache(max_bytes)

    def find(self, executor: ExecutionRun) -> Plan | None:
        """Return the plan for the executor's operation and variables; ``None`` if graphql-core has to execute it."""
        node = executor.operation
        known = self.kept.get(id(node))
        if known is None:
            known = _PlansOfOperation(executor)
            self.kept.put(id(node), known, known.size_bytes)
        plan = known.find(executor)
        if known.has_grown:
            self.kept.put(id(node), known, known.size_bytes)
        return plan


class _PlansOfOperation:
    """An operation's plans. It holds a reference to the node, so that ``id(node)`` stays unique while it is cached."""

    OWN_BYTES = 1000

    def __init__(self, executor: ExecutionRun) -> None:
        self._node: OperationDefinitionNode = executor.operation
        self._variables = directive_variables(executor)
        self._sightings = 0
        self._plans: dict[tuple[object, ...], Plan | None] = {}
        self.size_bytes = self.OWN_BYTES
        self.has_grown = False

    def find(self, executor: ExecutionRun) -> Plan | None:
        self.has_grown = False
        if self._variables is None:
            return None
        values = executor.variable_values.coerced
        key = tuple([values.get(name) for name in self._variables])
        try:
            plan = self._plans[key]
        except KeyError:
            self._sightings += 1
            if self._sightings < SIGHTINGS or len(self._plans) >= MAX_COMBINATIONS:
                return None
            return self._add(key, executor)
        if plan is None or not plan.is_outdated:
            return plan
        self.size_bytes -= plan.size_bytes
        return self._add(key, executor)

    def _add(self, key: tuple[object, ...], executor: ExecutionRun) -> Plan | None:
        try:
            plan = Plan(executor, self._variables or ())
        except (Unsupported, RecursionError, GraphQLError):
            # A GraphQLError means that @skip or @include got null. graphql-core meets it again and reports it.
            plan = None
        self._plans[key] = plan
        self.size_bytes += plan.size_bytes if plan is not None else 0
        self.has_grown = True
        return plan


def directive_variables(executor: ExecutionRun) -> tuple[str, ...] | None:
    """Return the variables that decide which fields are selected; ``None`` if there are directives besides the two.

    Those are ``@skip`` and ``@include``. Fragments with variables of their own are not supported either.
    """
    directives = _Directives()
    definitions: list[ExecutableDefinitionNode] = [executor.operation, *executor.fragment_definitions.values()]
    for definition in definitions:
        if definition is not executor.operation and definition.variable_definitions:
            return None
        visit(definition, directives)
    return None if directives.are_unknown else tuple(sorted(directives.variables))


class _Directives(Visitor):
    KNOWN = frozenset({GraphQLSkipDirective.name, GraphQLIncludeDirective.name})

    def __init__(self) -> None:
        super().__init__()
        self.variables: set[str] = set()
        self.are_unknown = False

    def enter_directive(self, node: DirectiveNode, *_rest: object) -> None:
        if node.name.value not in self.KNOWN:
            self.are_unknown = True
        for argument in node.arguments or ():
            if isinstance(argument.value, VariableNode):
                self.variables.add(argument.value.name.value)
