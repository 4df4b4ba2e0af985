"""Lookahead: the names of the fields that an operation selects below the current one."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false, reportPrivateUsage=false

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, SelectionSetNode
from strawberry.types.info import Info

SELECTED_ATTRIBUTE = "_selected_names"


def selected_names(info: Info[Any, Any]) -> frozenset[str]:
    """Return the names of all fields below the current one, at any depth, even those that ``@skip`` excludes."""
    known = getattr(info, SELECTED_ATTRIBUTE, None)
    if isinstance(known, frozenset):
        return known
    raw = info._raw_info  # noqa: SLF001  Strawberry's own look-ahead takes them from there.
    return names_below(raw.field_nodes, raw.fragments)


def names_below(nodes: Iterable[FieldNode], fragments: Mapping[str, FragmentDefinitionNode]) -> frozenset[str]:
    """Return the names of all fields below these nodes, at any depth, with fragments spread."""
    names: set[str] = set()
    spread: set[str] = set()
    waiting: list[SelectionSetNode] = [node.selection_set for node in nodes if node.selection_set is not None]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                definition = fragments.get(node.name.value)
                if definition is not None and node.name.value not in spread:
                    spread.add(node.name.value)
                    waiting.append(definition.selection_set)
                continue
            if isinstance(node, FieldNode):
                names.add(node.name.value)
            below = getattr(node, "selection_set", None)
            if below is not None:
                waiting.append(below)
    return frozenset(names)
