"""Calls resolvers from generated code, and completes their results, also those that have to be awaited."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from asyncio import gather
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any

from graphql import GraphQLField, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path

from app.execution.arguments import compile_arguments
from app.execution.calling import Calling, compile_call
from app.execution.leaf import Unusual
from app.execution.run import CodeGenerator, Completion, ExecutionRun, Pending, Resolved
from app.execution.selection import names_below


class Resolution:
    """A selected field with a resolver: coerces arguments, calls the resolver and completes the result."""

    def __init__(
        self,
        generator: CodeGenerator,
        parent: GraphQLObjectType,
        definition: GraphQLField,
        details: list[FieldDetails],
        response_name: str,
    ) -> None:
        self._parent = parent
        self._parent_name = parent.name
        self._definition = definition
        self._nodes = [each.node for each in details]
        selected = names_below(self._nodes, generator.executor.fragment_definitions)
        calling = compile_call(definition, generator.schema, selected) or _core_call(
            definition.resolve or generator.executor.field_resolver
        )
        self._call = calling.call
        self.is_coroutine = calling.is_coroutine
        self._arguments = compile_arguments(definition, details[0])
        self._completion: Completion = generator.completion(definition.type, details, parent)
        self.response_name = response_name

    def __call__(self, run: ExecutionRun, response: dict[str, Any], source: Any, path: Path | None) -> None:  # noqa: ANN401  Sources are anything.
        """Resolve the field into ``response``. An awaitable result goes to ``run.pending``, with null in its place."""
        place = Path(path, self.response_name, self._parent_name)
        arguments = self._arguments(run.variable_values)
        make_info = partial(run.build_resolve_info, self._definition, self._nodes, self._parent, place)
        try:
            value = self._call(source, run.context_value, make_info, arguments)
        except Exception as error:  # noqa: BLE001  Resolvers raise anything; graphql-core reports it.
            run.answers[place] = Resolved(error=error)
            raise Unusual from None
        if run.is_awaitable(value):
            response[self.response_name] = None
            run.pending.append(Pending(self, value, response, place))
            return
        run.answers[place] = Resolved(value)
        response[self.response_name] = self._completion(value, run, place)

    async def run_alone(self, run: ExecutionRun) -> dict[str, Any]:
        """Return the response of an operation with this field alone, whose resolver must be a coroutine function.

        Any exception means that graphql-core has to execute as the fallback.
        """
        place = Path(None, self.response_name, self._parent_name)
        arguments = self._arguments(run.variable_values)
        make_info = partial(run.build_resolve_info, self._definition, self._nodes, self._parent, place)
        try:
            value = await self._call(run.root_value, run.context_value, make_info, arguments)
        except Exception as error:  # noqa: BLE001  As below.
            run.answers[place] = Resolved(error=error, was_awaited=True)
            raise Unusual from None
        run.answers[place] = Resolved(value, was_awaited=True)
        response = {self.response_name: self._completion(value, run, place)}
        if run.pending:
            await settle(run)
        return response

    def settle(self, run: ExecutionRun, pending: Pending, value: Any) -> None:  # noqa: ANN401  Resolvers give anything.
        """Complete an awaited result, which may add pending fields below it."""
        run.answers[pending.path] = Resolved(value, was_awaited=True)
        if run.is_unusual:
            return
        try:
            pending.parent[self.response_name] = self._completion(value, run, pending.path)
        except Exception:  # noqa: BLE001  Whatever it is, graphql-core comes to it again and reports it.
            run.is_unusual = True


def _core_call(resolve: Callable[..., Any]) -> Calling:
    return Calling(lambda source, _context, make_info, arguments: resolve(source, make_info(), **arguments))


async def settle(run: ExecutionRun) -> None:
    """Await pending fields concurrently until there are none. Sets ``run.is_unusual`` if the fallback is needed."""
    while run.pending and not run.is_unusual:
        if len(run.pending) > 1:
            together, run.pending = run.pending, []
            try:
                await gather(*(_settle_one(run, pending) for pending in together))
            except BaseException:
                # After a cancellation, some of gather's tasks may never have begun; their coroutines are closed here.
                for pending in (*together, *run.pending):
                    _close_unstarted(pending.awaitable)
                raise
            return
        await _await(run, run.pending.pop())


def _close_unstarted(awaitable: Awaitable[Any]) -> None:
    if isinstance(awaitable, Coroutine) and getcoroutinestate(awaitable) == CORO_CREATED:
        awaitable.close()


async def _settle_one(run: ExecutionRun, pending: Pending) -> None:
    await _await(run, pending)
    await settle(run)


async def _await(run: ExecutionRun, pending: Pending) -> None:
    try:
        value = await pending.awaitable
    except Exception as error:  # noqa: BLE001  Resolvers raise anything; graphql-core reports it.
        run.answers[pending.path] = Resolved(error=error, was_awaited=True)
        run.is_unusual = True
    else:
        pending.resolution.settle(run, pending, value)
