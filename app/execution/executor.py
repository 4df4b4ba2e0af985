"""The execution context class: it runs an operation's compiled plan, with graphql-core as the fallback."""

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
    """Executes one operation once. Subclass it with ``compiled_executor``, so that each schema has a plan cache."""

    plans: ClassVar[Plans]

    # Set only by ``Operation``, whose fast coercion does not record the sources of values. graphql-core needs those, so
    # the variables are coerced again before the fallback.
    raw_variables: Mapping[str, Any] | None = None

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:
        """Helpers for ``GraphQLResolveInfo``, built at each access: stored, they would be a reference cycle."""
        return GraphQLResolveInfoHelpers(gather=self.gather_async_work, track=self.track_async_work)

    @async_helpers.setter
    def async_helpers(self, helpers: GraphQLResolveInfoHelpers) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass

    def execute_operation(self, serially: bool | None = None) -> AwaitableOrValue[ExecutionResult]:  # noqa: FBT001  graphql-core's signature.
        """Run the plan if there is one, else let graphql-core execute. graphql-core calls this."""
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
        """Resolve and complete a field during the fallback; a result that a resolver gave before it is used again.

        graphql-core calls this.
        """
        answer = self.answers.pop(path, None) if self.answers else None
        if answer is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        definition = self.schema.get_field(parent_type, field_details_list[0].node.name.value)
        assert definition is not None  # noqa: S101  Its resolver was called.
        graphql_type = definition.type
        info = self.build_resolve_info(definition, [details.node for details in field_details_list], parent_type, path)
        if answer.was_awaited or self.is_awaitable(answer.value):
            # Known results are wrapped in an awaitable again, so that errors arise in graphql-core's order.
            awaitable = answer.again() if answer.was_awaited else answer.value
            return self.complete_awaitable_value(
                graphql_type, field_details_list, info, path, awaitable, position_context
            )
        try:
            if answer.error is not None:
                raise answer.error  # noqa: TRY301  It is handled as if the resolver raised it here.
            completed = self.complete_value(
                graphql_type, field_details_list, info, path, answer.value, position_context
            )
        except Exception as error:  # noqa: BLE001  graphql-core tells what becomes of it.
            self.handle_field_error(error, graphql_type, field_details_list, path)
            return None
        if not self.is_awaitable(completed):
            return completed

        async def awaited() -> object:
            try:
                return await cast("Awaitable[object]", completed)
            except Exception as error:  # noqa: BLE001  As above.
                self.handle_field_error(error, graphql_type, field_details_list, path)
                return None

        return awaited()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  It may be any of them.
        """Run graphql-core's constructor on first use of an attribute that ``Operation`` left out to save time."""
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
        """Tell whether the request uses no feature that generated code lacks: hooks, middleware, abort signals."""
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
        """Let graphql-core execute as the fallback, with the results and awaitables that there are."""
        self.answers |= {field.path: Resolved(field.awaitable) for field in self.pending}
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
        """Settle awaitables that graphql-core never reached, in the background, as it does with its own leftovers."""
        left = [answer.value for answer in self.answers.values() if not answer.was_awaited]
        self.answers = {}
        if awaitables := [value for value in left if self.is_awaitable(value)]:
            self.settle_in_background(awaitables)


def compiled_executor(max_bytes: int) -> type[CompiledExecutor]:
    """Create the execution context class of one schema, with a plan cache of about ``max_bytes``."""
    return type("CompiledExecutor", (CompiledExecutor,), {"plans": Plans(max_bytes)})
