"""Caches the work before execution: each document is parsed, measured and validated once. Also the request timeout."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from graphql import ASTValidationRule, DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document
from strawberry.types import ExecutionContext
from strawberry.types.graphql import OperationType

from app.execution.cache import ByteCache
from app.execution.executor import CompiledExecutor
from app.execution.operation import Operation
from app.execution.sources import Unsupported
from app.graphql.limits import Limits, Measure, pages
from app.graphql.masking import OPERATION_NOT_RESOLVED, VALIDATION_FAILED, RequestTimedOut

SEVERAL_OPERATIONS = "The document has several operations: name the one to run in `operationName`."
# Memory of a parsed document for each character of its text, as measured.
BYTES_PER_CHARACTER = 100
MAX_OPERATIONS = 16


@dataclass(slots=True)
class Prepared:
    """A parsed document with its counts and validation errors; ``errors`` is ``None`` until it was validated."""

    document: DocumentNode
    measure: Measure
    errors: tuple[GraphQLError, ...] | None = None
    operations: dict[str | None, Operation | None] = field(default_factory=dict[str | None, Operation | None])


class Preparation:
    """LRU cache of prepared documents by their text, bounded by bytes."""

    def __init__(self, schema: GraphQLSchema, executor_class: type[CompiledExecutor] | None, max_bytes: int) -> None:
        self._schema = schema
        self._pages: Mapping[str, int] = pages(schema)
        self._executor_class = executor_class
        self._kept: ByteCache[str, Prepared] = ByteCache(max_bytes)

    def find(self, query: str) -> Prepared | None:
        """Return the cached document, if it is still there."""
        return self._kept.get(query)

    def add(self, query: str, document: DocumentNode) -> Prepared:
        """Measure a parsed document, and cache it."""
        prepared = Prepared(document, Measure(document, self._pages))
        self._kept.put(query, prepared, len(query) * BYTES_PER_CHARACTER)
        return prepared

    def validate(self, prepared: Prepared, rules: tuple[type[ASTValidationRule], ...]) -> tuple[GraphQLError, ...]:
        """Return the validation errors; the result is not cached here."""
        return tuple(validate_document(self._schema, prepared.document, rules))

    def operation(self, prepared: Prepared, name: str | None) -> Operation | None:
        """Return the named operation, ready to execute; ``None`` if Strawberry has to execute it."""
        if self._executor_class is None or prepared.errors != ():
            return None
        known = prepared.operations
        if name not in known and len(known) < MAX_OPERATIONS:
            try:
                known[name] = Operation(self._schema, self._executor_class, prepared.document, name)
            except Unsupported:
                known[name] = None
        return known.get(name)


class Parsing(SchemaExtension):
    """Strawberry extension that takes the parsed document from the cache, or puts it there."""

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        self._preparation = preparation

    def on_parse(self) -> Iterator[None]:
        """Set the cached document, which Strawberry then does not parse again."""
        context = self.execution_context
        query = context.query or ""
        prepared = self._preparation.find(query)
        if prepared is not None:
            context.graphql_document = prepared.document
        yield
        if prepared is None and context.graphql_document is not None:
            self._preparation.add(query, context.graphql_document)


class Measuring(SchemaExtension):
    """Strawberry extension that checks the limits before validation.

    It also refuses a request that names none of several operations, where Strawberry would run the first one.
    """

    def __init__(self, preparation: Preparation, limits: Limits) -> None:
        super().__init__()
        self._preparation = preparation
        self._limits = limits

    def on_validate(self) -> Iterator[None]:
        """Set errors before validation, which Strawberry then skips."""
        context = self.execution_context
        document = context.graphql_document
        if _is_undecided(context):
            context.pre_execution_errors = [
                GraphQLError(SEVERAL_OPERATIONS, extensions={"code": OPERATION_NOT_RESOLVED})
            ]
        elif document is not None:
            query = context.query or ""
            prepared = self._preparation.find(query) or self._preparation.add(query, document)
            if errors := prepared.measure.errors(self._limits, context.variables or {}):
                context.pre_execution_errors = errors
        yield


class Validation(SchemaExtension):
    """Strawberry extension that takes validation errors from the cache, and gives each error a code."""

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        self._preparation = preparation

    def on_validate(self) -> Iterator[None]:
        """Set the cached errors before validation, which Strawberry then skips."""
        context = self.execution_context
        prepared = self._preparation.find(context.query or "")
        if not context.pre_execution_errors and prepared is not None:
            if prepared.errors is None:
                prepared.errors = self._preparation.validate(prepared, context.validation_rules)
            context.pre_execution_errors = list(prepared.errors)
        yield
        # Strawberry has validated the document itself if it was not in the cache.
        for error in context.pre_execution_errors or ():
            error.extensions = {"code": VALIDATION_FAILED, **(error.extensions or {})}


class TimeLimit(SchemaExtension):
    """Strawberry extension that cancels a query or mutation after a timeout. What a mutation has committed stays."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def on_execute(self) -> AsyncIterator[None]:
        """Run the execution under the timeout, except for subscriptions, which the transports limit themselves."""
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            yield
            return
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise RequestTimedOut(self._seconds) from None


def _is_undecided(context: ExecutionContext) -> bool:
    document = context.graphql_document
    definitions = document.definitions if document is not None else ()
    operations = sum(isinstance(definition, OperationDefinitionNode) for definition in definitions)
    operation_name = cast("str | None", getattr(context, "_provided_operation_name"))  # noqa: B009  `operation_name` falls back to the first one's.
    return operations > 1 and operation_name is None
