"""One execution of an event for all who subscribed by the same operation, with the same variables and rights.

The source of events hands the same payload to all of them. A payload that can be shared says so by an attribute,
``shared_results``, where the results are kept as long as it is; contexts tell by ``rights`` who may see the same.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from asyncio import Future
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult, OperationDefinitionNode
from graphql.execution.values import VariableValues

# Who subscribes to much in many ways executes each: results are kept as long as events are.
MAX_SHARED = 16

SharedResults = dict[Hashable, "SharedResult"]


@dataclass(slots=True)
class SharedResult:
    """A result, or the one that is on its way. It keeps the operation, so that no other one gets its identity."""

    operation: OperationDefinitionNode
    result: "ExecutionResult | Future[ExecutionResult]"


def sharing_key(operation: OperationDefinitionNode, variables: VariableValues, context: Any) -> Hashable | None:  # noqa: ANN401  Contexts are anything.
    """What two executions have in common that give the same result; ``None`` for one that is its caller's own."""
    rights = getattr(context, "rights", None)
    if rights is None:
        return None
    key = (id(operation), rights, _frozen(variables.coerced))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Hashable:  # noqa: ANN401  As above.
    """The value as a key. Types count: ``1`` and ``True`` are equal to Python."""
    if isinstance(value, dict):
        return tuple((name, _frozen(value[name])) for name in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return (type(value), value)
