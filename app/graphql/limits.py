"""How much one document may ask for, measured before it is validated, in a time that grows with its length."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
)

# Fields, inline fragments and spreads within each other. Colocated fragments nest some three times as deep as fields.
NESTING_PER_DEPTH = 5
# What a page has at most; a larger number is refused by the field itself, with a better error.
MAX_PAGE = 100
# Where a schema has no default to tell.
DEFAULT_PAGE = 50
SCHEMA_COST = 2000
TYPE_COST = 100
# Costs that are remembered of one document, by the numbers that its variables had.
MAX_COSTS = 100
# Doubled fragments reach numbers with hundreds of digits, of which nobody needs more than that they are large.
MOST = 10**9

# What is equal in these costs the same; 1.0 and True are equal to 1, and are no numbers of a page.
_NUMBERS = frozenset({int})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation may have. ``docs/limits.md`` tells how each is counted."""

    tokens: int = 2000
    depth: int = 20
    aliases: int = 50
    directives: int = 50
    root_fields: int = 20
    cost: int = 25_000
    introspection: bool = True

    @property
    def nesting(self) -> int:
        """Of fields, inline fragments and spreads within each other."""
        return self.depth * NESTING_PER_DEPTH


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _Variable:
    """The size of a list that the request's variables tell: a number, or a list of ids."""

    name: str
    fallback: int

    def value(self, variables: Mapping[str, object]) -> int:
        given = variables.get(self.name)
        if isinstance(given, list):
            return len(cast("list[object]", given))
        return _page(given if isinstance(given, int) else self.fallback)


_Size = int | _Variable


@dataclass(slots=True)
class _Weight:
    """What a selection set amounts to. Spreads of fragments are counted as if the fragments stood in their place."""

    fields: int = 0
    depth: int = 0
    nesting: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0
    is_introspection: bool = False
    terms: list[tuple[_Size, "_Weight"]] = field(default_factory=list["tuple[_Size, _Weight]"])
    """Costs that are known once the variables are: each is multiplied by its size."""

    def add(self, other: "_Weight", size: _Size = 1, *, is_below: bool = False) -> None:
        """Add what stands beside, or below a field of this one."""
        step = 1 if is_below else 0
        self.depth = max(self.depth, other.depth + step)
        self.nesting = max(self.nesting, other.nesting + 1)
        self.aliases = min(self.aliases + other.aliases, MOST)
        self.directives = min(self.directives + other.directives, MOST)
        self.is_introspection |= other.is_introspection
        if not is_below:
            self.fields = min(self.fields + other.fields, MOST)
        if other.terms or isinstance(size, _Variable):
            self.terms.append((size, other))
        else:
            self.cost = min(self.cost + size * other.cost, MOST)


class Measure:
    """How large the operations of a document are; each number is that of the largest one."""

    def __init__(self, document: DocumentNode, pages: Mapping[str, int]) -> None:
        self._pages = pages
        self._fragments: dict[str, _Weight] = {}
        definitions = document.definitions
        fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
        for name in _innermost_first(fragments):
            self._fragments[name] = self._weigh(fragments[name].selection_set)
        operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
        self._defaults = dict(_defaults(operations))
        self._operations = [self._weigh_operation(node) for node in operations]
        self._is_cost_fixed = not any(weight.terms for weight in self._operations)
        self._within: tuple[Limits, int | None] | None = None
        self._variables: tuple[str, ...] | None = None
        self._costs: dict[tuple[object, ...], int] = {}

    def errors(self, limits: Limits, variables: Mapping[str, object]) -> list[GraphQLError]:
        """An error for each limit that is exceeded. Costs are only computed once all else is within its limits."""
        if self._within is None or self._within[0] is not limits:
            if errors := self._fixed_errors(limits):
                return errors
            self._within = (limits, self.cost({}) if self._is_cost_fixed else None)
        fixed_cost = self._within[1]
        cost = self.cost(variables) if fixed_cost is None else fixed_cost
        return [exceeded("cost", cost, limits.cost)] if cost > limits.cost else []

    def _fixed_errors(self, limits: Limits) -> list[GraphQLError]:
        """Those that do not depend on variables."""
        if any(weight.is_introspection for weight in self._operations) and not limits.introspection:
            return [GraphQLError("Introspection is turned off.", extensions={"code": "INTROSPECTION_DISABLED"})]
        nesting = max((weight.nesting for weight in self._operations), default=0)
        found = {
            "depth": (max((weight.depth for weight in self._operations), default=0), limits.depth),
            "nesting": (nesting, limits.nesting),
            "aliases": (max((weight.aliases for weight in self._operations), default=0), limits.aliases),
            "directives": (max((weight.directives for weight in self._operations), default=0), limits.directives),
            "root fields": (max((weight.fields for weight in self._operations), default=0), limits.root_fields),
        }
        return [exceeded(what, seen, limit) for what, (seen, limit) in found.items() if seen > limit]

    def cost(self, variables: Mapping[str, object]) -> int:
        """How many values the largest operation can answer with, and its fields ask for."""
        if self._variables is None:
            self._variables = tuple(_variables(self._operations))
        key = tuple([variables.get(name) for name in self._variables])
        if not _NUMBERS.issuperset(map(type, key)):
            return self._computed(variables)
        cost = self._costs.get(key)
        if cost is None:
            cost = self._computed(variables)
            if len(self._costs) < MAX_COSTS:
                self._costs[key] = cost
        return cost

    def _computed(self, variables: Mapping[str, object]) -> int:
        known = {**self._defaults, **variables} if self._defaults else variables
        return max((_cost(weight, known, {}) for weight in self._operations), default=0)

    def _weigh_operation(self, node: OperationDefinitionNode) -> _Weight:
        weight = self._weigh(node.selection_set)
        weight.directives += len(node.directives or ())
        return weight

    def _weigh(self, selection_set: SelectionSetNode) -> _Weight:
        weight = _Weight()
        for node in selection_set.selections:
            weight.directives += len(node.directives or ())
            if isinstance(node, FieldNode):
                self._weigh_field(weight, node)
            elif isinstance(node, InlineFragmentNode):
                weight.add(self._weigh(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                # One that is not there, or in a circle, is for the validation to tell.
                weight.add(self._fragments.get(node.name.value, _Weight()))
        return weight

    def _weigh_field(self, weight: _Weight, node: FieldNode) -> None:
        name = node.name.value
        weight.fields += 1
        weight.depth = max(weight.depth, 1)
        weight.aliases += node.alias is not None
        weight.cost += {"__schema": SCHEMA_COST, "__type": TYPE_COST}.get(name, 1)
        weight.is_introspection |= name in {"__schema", "__type"}
        if node.selection_set is not None:
            weight.add(self._weigh(node.selection_set), self._size(node), is_below=True)

    def _size(self, node: FieldNode) -> _Size:
        """How many objects a field answers with at most: a page of them, as many as it is given ids, or one."""
        arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
        default = self._pages.get(node.name.value)
        for name in ("first", "last", "ids"):
            if name in arguments and (default is not None or name == "ids"):
                return _literal(arguments[name], default or 1)
        return default or 1


def pages(schema: GraphQLSchema) -> Mapping[str, int]:
    """The fields that answer with a page, by name, and how many objects it has where nothing is said."""
    found: dict[str, int] = {}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for name, definition in kind.fields.items():
                if "first" in definition.args:
                    default = definition.args["first"].default_value
                    page = default if isinstance(default, int) else DEFAULT_PAGE
                    found[name] = max(found.get(name, 0), page)
    return found


def brackets(text: str) -> int:
    """How deep brackets stand within each other, in a text that the parser gave up. Those in strings count too."""
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def exceeded(what: str, seen: int, limit: int) -> GraphQLError:
    """The error for a document with too much of something, with the number seen and the limit."""
    code = f"{what.upper().replace(' ', '_')}_LIMIT_EXCEEDED"
    return GraphQLError(
        f"The document has a {what} of {seen}; the limit is {limit}."
        if what in {"depth", "nesting", "cost"}
        else f"The document has {seen} {what}; the limit is {limit}.",
        extensions={"code": code, "seen": seen, "limit": limit},
    )


def _cost(weight: _Weight, variables: Mapping[str, object], known: dict[int, int]) -> int:
    """Not more calls than there are fragments and lists, each at most as deep as the limit of nesting."""
    if id(weight) not in known:
        cost = weight.cost
        for size, below in weight.terms:
            times = size.value(variables) if isinstance(size, _Variable) else size
            cost = min(cost + times * _cost(below, variables, known), MOST)
        known[id(weight)] = cost
    return known[id(weight)]


def _variables(weights: Iterable[_Weight]) -> set[str]:
    """The variables that their costs depend on."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = list(weights)
    while waiting:
        weight = waiting.pop()
        if id(weight) not in seen:
            seen.add(id(weight))
            found |= {size.name for size, _ in weight.terms if isinstance(size, _Variable)}
            waiting += [below for _, below in weight.terms]
    return found


def _literal(value: ValueNode, fallback: int) -> _Size:
    match value:
        case VariableNode():
            return _Variable(value.name.value, fallback)
        case IntValueNode():
            return _page(int(value.value[:10]))
        case ListValueNode():
            return len(value.values)
        case _:
            return fallback


def _page(number: int) -> int:
    return max(1, min(number, MAX_PAGE))


def _defaults(operations: Iterable[OperationDefinitionNode]) -> Iterator[tuple[str, int]]:
    for operation in operations:
        for definition in operation.variable_definitions or ():
            if isinstance(definition.default_value, IntValueNode):
                yield definition.variable.name.value, int(definition.default_value.value[:10])


def _innermost_first(fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[str]:
    """The names of fragments, each after those that it spreads. What is in a circle, or leads to one, is left out."""
    spreads = {name: _spreads(node.selection_set) & fragments.keys() for name, node in fragments.items()}
    users: dict[str, list[str]] = {name: [] for name in fragments}
    for name, spread in spreads.items():
        for inner in spread:
            users[inner].append(name)
    waiting = {name: len(spread) for name, spread in spreads.items()}
    ready = deque(name for name, count in waiting.items() if not count)
    while ready:
        name = ready.popleft()
        yield name
        for user in users[name]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)


def _spreads(selection_set: SelectionSetNode) -> set[str]:
    found: set[str] = set()
    waiting = [selection_set]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                found.add(node.name.value)
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)
    return found
