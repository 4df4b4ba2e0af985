"""Limits on a document's depth, aliases and cost, checked before validation in time linear in its length."""

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

# Nesting counts fields, inline fragments and spreads; with colocated fragments it is about three times the depth.
NESTING_PER_DEPTH = 5
# The largest page size. A field refuses a larger number itself, with an error that names the argument.
MAX_PAGE = 100
# Page size assumed for a field whose `first` has no default in the schema.
DEFAULT_PAGE = 50
SCHEMA_COST = 2000
TYPE_COST = 100
# Entries in a document's cache of costs, whose keys are the values of the variables that costs depend on.
MAX_COSTS = 100
# Counts saturate here: fragments that double each other would otherwise give numbers with hundreds of digits.
MOST = 10**9

# Only ints are cache keys: 1.0 and True equal 1, but are no page sizes, so they must not share its entry.
_NUMBERS = frozenset({int})


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest values for one operation. ``docs/limits.md`` tells how each is counted."""

    length: int = 200_000
    tokens: int = 2000
    depth: int = 20
    aliases: int = 50
    directives: int = 50
    root_fields: int = 20
    cost: int = 25_000
    introspection: bool = True

    @property
    def nesting(self) -> int:
        """The limit on how deep fields, inline fragments and spreads nest."""
        return self.depth * NESTING_PER_DEPTH


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _Variable:
    """A list's size that is given by a variable: a page size, or a list of ids whose length counts."""

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
    """The counts of one selection set, with fragments counted at each place where they are spread."""

    fields: int = 0
    depth: int = 0
    nesting: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0
    is_introspection: bool = False
    terms: list[tuple[_Size, "_Weight"]] = field(default_factory=list["tuple[_Size, _Weight]"])
    """Parts of the cost that depend on variables, as pairs of a factor and the weight it multiplies."""

    def add(self, other: "_Weight", size: _Size = 1, *, is_below: bool = False) -> None:
        """Add the weight of a fragment, or (``is_below``) of a field's selection set, which counts ``size`` times."""
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
    """The counts of a document. With several operations, each count is that of the operation that has most."""

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
        """Return an error for each limit that is exceeded. The cost is checked only if all other limits hold."""
        if self._within is None or self._within[0] is not limits:
            if errors := self._fixed_errors(limits):
                return errors
            self._within = (limits, self.cost({}) if self._is_cost_fixed else None)
        fixed_cost = self._within[1]
        cost = self.cost(variables) if fixed_cost is None else fixed_cost
        return [exceeded("cost", cost, limits.cost)] if cost > limits.cost else []

    @property
    def is_introspection(self) -> bool:
        """Tell whether an operation asks for the schema."""
        return any(weight.is_introspection for weight in self._operations)

    def _fixed_errors(self, limits: Limits) -> list[GraphQLError]:
        """Return the errors that do not depend on variables."""
        if self.is_introspection and not limits.introspection:
            return [GraphQLError("Introspection is turned off.", extensions={"code": "INTROSPECTION_DISABLED"})]
        nesting = max((weight.nesting for weight in self._operations), default=0)
        counts = {
            "depth": (max((weight.depth for weight in self._operations), default=0), limits.depth),
            "nesting": (nesting, limits.nesting),
            "aliases": (max((weight.aliases for weight in self._operations), default=0), limits.aliases),
            "directives": (max((weight.directives for weight in self._operations), default=0), limits.directives),
            "root fields": (max((weight.fields for weight in self._operations), default=0), limits.root_fields),
        }
        return [exceeded(what, seen, limit) for what, (seen, limit) in counts.items() if seen > limit]

    def cost(self, variables: Mapping[str, object]) -> int:
        """Return an upper bound on the number of values in the response, for these variables."""
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
                # Unknown fragments and cycles count nothing here, since validation reports them.
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
        """Return how many objects the field can have: its page size, the number of ids it is given, or one."""
        arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
        default = self._pages.get(node.name.value)
        for name in ("first", "last", "ids"):
            if name in arguments and (default is not None or name == "ids"):
                return _literal(arguments[name], default or 1)
        return default or 1


def pages(schema: GraphQLSchema) -> Mapping[str, int]:
    """Map the names of paginated fields to their default page size; of fields with one name, the largest counts."""
    sizes: dict[str, int] = {}
    for graphql_type in schema.type_map.values():
        if isinstance(graphql_type, GraphQLObjectType):
            for name, definition in graphql_type.fields.items():
                if "first" in definition.args:
                    default = definition.args["first"].default_value
                    page = default if isinstance(default, int) else DEFAULT_PAGE
                    sizes[name] = max(sizes.get(name, 0), page)
    return sizes


def brackets(text: str) -> int:
    """Estimate the nesting of a document that the parser refused, by its brackets; those in strings count too."""
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def exceeded(what: str, seen: int, limit: int) -> GraphQLError:
    """Build the error of an exceeded limit; ``what`` also gives its code, such as DEPTH_LIMIT_EXCEEDED."""
    code = f"{what.upper().replace(' ', '_')}_LIMIT_EXCEEDED"
    return GraphQLError(
        f"The document has a {what} of {seen}; the limit is {limit}."
        if what in {"length", "depth", "nesting", "cost"}
        else f"The document has {seen} {what}; the limit is {limit}.",
        extensions={"code": code, "seen": seen, "limit": limit},
    )


def _cost(weight: _Weight, variables: Mapping[str, object], known: dict[int, int]) -> int:
    """Compute a weight's cost, memoised in ``known`` by ``id``, so each fragment is visited once.

    The recursion is as deep as the document nests, which has been checked before.
    """
    if id(weight) not in known:
        cost = weight.cost
        for size, below in weight.terms:
            times = size.value(variables) if isinstance(size, _Variable) else size
            cost = min(cost + times * _cost(below, variables, known), MOST)
        known[id(weight)] = cost
    return known[id(weight)]


def _variables(weights: Iterable[_Weight]) -> set[str]:
    """Collect the names of the variables that the costs depend on."""
    names: set[str] = set()
    seen: set[int] = set()
    waiting = list(weights)
    while waiting:
        weight = waiting.pop()
        if id(weight) not in seen:
            seen.add(id(weight))
            names |= {size.name for size, _ in weight.terms if isinstance(size, _Variable)}
            waiting += [below for _, below in weight.terms]
    return names


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
    """Sort fragments topologically, each after those it spreads. Those in a cycle, or that reach one, are omitted."""
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
    names: set[str] = set()
    waiting = [selection_set]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                names.add(node.name.value)
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)
    return names
