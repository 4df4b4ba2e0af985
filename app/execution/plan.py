"""What is generated for one operation, and where that is kept."""

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

# Measured with tracemalloc on the operations of the benchmarks: what a plan takes for each character of its code.
BYTES_PER_CHARACTER = 12
# An operation is compiled when it comes again: compiling costs more than executing once.
SIGHTINGS = 2
# Of the values of @skip and @include.
MAX_COMBINATIONS = 32


class Plan:
    """The root fields of an operation, with the functions for what is below them."""

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
        """The field, where there is no other one and its resolver has to be awaited: most operations are such."""
        self.size_bytes = generator.characters * BYTES_PER_CHARACTER
        self._generator = generator
        # It served the field collection, and holds a request's context.
        generator.forget(directive_variables)

    @property
    def is_outdated(self) -> bool:
        """Whether the operation should be compiled again."""
        return self._generator.is_outdated

    def run(self, executor: ExecutionRun) -> dict[str, Any]:
        """Begin all fields; those that have to be awaited are then pending."""
        response: dict[str, Any] = {}
        for response_name, field in self._fields:
            if isinstance(field, str):
                response[response_name] = field
            else:
                field(executor, response, executor.root_value, None)
        return response

    async def run_serially(self, executor: ExecutionRun) -> dict[str, Any]:
        """A field begins when the one before it is complete, or went wrong: then the rest is graphql-core's."""
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
    """The plans of operations, by their node in the document, bounded by bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.kept: ByteCache[int, _Operation] = ByteCache(max_bytes)

    def find(self, executor: ExecutionRun) -> Plan | None:
        """The plan for an operation; ``None`` for one that graphql-core is to execute."""
        node = executor.operation
        known = self.kept.get(id(node))
        if known is None:
            known = _Operation(executor)
            self.kept.put(id(node), known, known.size_bytes)
        plan = known.find(executor)
        if known.has_grown:
            self.kept.put(id(node), known, known.size_bytes)
        return plan


class _Operation:
    """An operation that was seen. It keeps the node, so that no other one gets its identity."""

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
            # An error is a directive's, given null where it takes none: graphql-core comes to it again and reports it.
            plan = None
        self._plans[key] = plan
        self.size_bytes += plan.size_bytes if plan is not None else 0
        self.has_grown = True
        return plan


def directive_variables(executor: ExecutionRun) -> tuple[str, ...] | None:
    """The variables that ``@skip`` and ``@include`` ask; ``None`` where there is anything else of that kind."""
    found = _Directives()
    definitions: list[ExecutableDefinitionNode] = [executor.operation, *executor.fragment_definitions.values()]
    for definition in definitions:
        if definition is not executor.operation and definition.variable_definitions:
            return None
        visit(definition, found)
    return None if found.are_unknown else tuple(sorted(found.variables))


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
