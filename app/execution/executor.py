"""The execution context: by a plan where there is one, else and in every unusual case by graphql-core."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, cast

from graphql import ExecutionResult, GraphQLObjectType, GraphQLResolveInfoHelpers
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.executor import default_field_resolver, default_type_resolver
from graphql.execution.values import get_variable_values
from graphql.language import OperationType
from graphql.pyutils import AwaitableOrValue, Path

from app.execution.plan import Plans
from app.execution.resolving import settle
from app.execution.run import ExecutionRun, Resolved


class CompiledExecutor(ExecutionRun):
    """Executes one operation. Use it by ``compiled_executor``, which gives a schema plans of its own."""

    plans: ClassVar[Plans]

    # Of one that ``Operation`` made, which coerced them without noting where each comes from.
    raw_variables: Mapping[str, Any] | None = None

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:
        """What resolvers are told. It is made each time: kept here, it would tie each request into a cycle."""
        return GraphQLResolveInfoHelpers(gather=self.gather_async_work, track=self.track_async_work)

    @async_helpers.setter
    def async_helpers(self, helpers: GraphQLResolveInfoHelpers) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass

    def execute_operation(self, serially: bool | None = None) -> AwaitableOrValue[ExecutionResult]:  # noqa: FBT001  graphql-core's signature.
        """Execute; graphql-core calls this."""
        self.answers, self.pending, self.is_unusual = {}, [], False
        plan = self.plans.find(self) if self._is_usual() else None
        if plan is None:
            return self._interpret(serially)
        if plan.only is not None:
            return self._completed(plan.only.run_alone(self), serially)
        is_serial = self.operation.operation is OperationType.MUTATION if serially is None else serially
        if is_serial:
            return self._completed(plan.run_serially(self), serially)
        try:
            response = plan.run(self)
        except Exception:  # noqa: BLE001  Whatever it is, graphql-core comes to it again and reports it.
            return self._interpret(serially)
        if self.pending:
            return self._settled(response, serially)
        return ExecutionResult(response, None)

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,  # noqa: ANN401  As graphql-core has it.
        field_details_list: list[FieldDetails],
        path: Path,
        position_context: Any,  # noqa: ANN401  As graphql-core has it.
    ) -> Any:  # noqa: ANN401  As graphql-core has it.
        """Resolve and complete a field; graphql-core calls this. What a resolver gave before stands."""
        answer = self.answers.pop(path, None) if self.answers else None
        if answer is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        definition = self.schema.get_field(parent_type, field_details_list[0].node.name.value)
        assert definition is not None  # noqa: S101  Its resolver was called.
        kind = definition.type
        info = self.build_resolve_info(definition, [found.node for found in field_details_list], parent_type, path)
        if answer.was_awaited or self.is_awaitable(answer.value):
            # What was awaited is awaited again, so that errors come in the order in which they would have come.
            awaitable = answer.again() if answer.was_awaited else answer.value
            return self.complete_awaitable_value(kind, field_details_list, info, path, awaitable, position_context)
        try:
            if answer.error is not None:
                raise answer.error  # noqa: TRY301  It is handled as if the resolver raised it here.
            completed = self.complete_value(kind, field_details_list, info, path, answer.value, position_context)
        except Exception as error:  # noqa: BLE001  graphql-core tells what becomes of it.
            self.handle_field_error(error, kind, field_details_list, path)
            return None
        if not self.is_awaitable(completed):
            return completed

        async def awaited() -> object:
            try:
                return await cast("Awaitable[object]", completed)
            except Exception as error:  # noqa: BLE001  As above.
                self.handle_field_error(error, kind, field_details_list, path)
                return None

        return awaited()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  It may be any of them.
        """What an executor that ``Operation`` made lacks, since it is rarely needed."""
        if name.startswith("__") or self.raw_variables is None:
            raise AttributeError(name)
        self._complete()
        return getattr(self, name)

    def _complete(self) -> None:
        own = self.__dict__.copy()
        definitions = self.operation.variable_definitions or ()
        own["variable_values"] = get_variable_values(self.schema, definitions, dict(own.pop("raw_variables")))
        self.raw_variables = None
        super().__init__(
            self.schema,
            self.fragment_definitions,
            self.fragments,
            self.root_value,
            self.context_value,
            self.operation,
            own["variable_values"],
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=self.is_awaitable,
        )
        self.__dict__.update(own)

    def _is_usual(self) -> bool:
        """Whether nothing is asked for that the generated code does not have."""
        return (
            self.abort_signal is None
            and self.hooks is None
            and self.error_propagation
            and self.field_resolver is default_field_resolver
            and (self.middleware_manager is None or not self.middleware_manager.middlewares)
        )

    async def _completed(self, completing: Awaitable[dict[str, Any]], serially: bool | None) -> ExecutionResult:  # noqa: FBT001  As above.
        try:
            response = await completing
        except Exception:  # noqa: BLE001  As above.
            self.is_unusual = True
            response = {}
        if self.is_unusual:
            return await self._interpreted(serially)
        return ExecutionResult(response, None)

    async def _settled(self, response: dict[str, Any], serially: bool | None) -> ExecutionResult:  # noqa: FBT001  As above.
        await settle(self)
        if self.is_unusual:
            return await self._interpreted(serially)
        return ExecutionResult(response, None)

    async def _interpreted(self, serially: bool | None) -> ExecutionResult:  # noqa: FBT001  As above.
        result = self._interpret(serially)
        if self.is_awaitable(result):
            return await cast("Awaitable[ExecutionResult]", result)
        return cast("ExecutionResult", result)

    def _interpret(self, serially: bool | None) -> AwaitableOrValue[ExecutionResult]:  # noqa: FBT001  As above.
        """Have graphql-core execute."""
        self.answers |= {found.path: Resolved(found.awaitable) for found in self.pending}
        self.pending = []
        if self.raw_variables is not None:
            self._complete()
        result = cast("AwaitableOrValue[ExecutionResult]", super().execute_operation(serially))
        if not self.answers:
            return result
        if not self.is_awaitable(result):
            self._let_go()
            return result

        async def finished() -> ExecutionResult:
            try:
                return await cast("Awaitable[ExecutionResult]", result)
            finally:
                self._let_go()

        return finished()

    def _let_go(self) -> None:
        """See to it that what graphql-core did not come to is awaited too, as it does itself with what is left over."""
        left = [answer.value for answer in self.answers.values() if not answer.was_awaited]
        self.answers = {}
        if awaitables := [value for value in left if self.is_awaitable(value)]:
            self.settle_in_background(awaitables)


def compiled_executor(max_bytes: int) -> type[CompiledExecutor]:
    """The execution context class for one schema, whose plans take at most about so many bytes."""
    return type("CompiledExecutor", (CompiledExecutor,), {"plans": Plans(max_bytes)})
