"""Looks for operations that compiled execution answers differently from graphql-core: ``make fuzz``.

Operations come from hypothesis-graphql. Directives, aliases, fragments and variables are put into them at random, and
faults into the data. Each is executed by both, three times, since what is seen once is not compiled; and by several
at once.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportAssignmentType=false, reportPrivateUsage=false
# What is wrong in here is meant, and syntax trees are changed at random.

import asyncio
import gc
import json
import random
import sys
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import strawberry
from graphql import (
    ArgumentNode,
    BooleanValueNode,
    FieldNode,
    IntValueNode,
    NameNode,
    Node,
    StringValueNode,
    Visitor,
    parse,
    print_ast,
    validate,
    visit,
)
from graphql.language import VariableNode
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis_graphql import from_schema
from strawberry.extensions import ParserCache, ValidationCache

from app.execution.executor import CompiledExecutor, compiled_executor
from tests.support.faulty_schema import FAULTS, Faults, Mutation, Person, Query, QuietSchema, Subscription, Tool

RATES = (0.0, 0.005, 0.05, 0.3)
REPETITIONS = 3
AT_ONCE = 3
PLANS_BYTES = 4 * 1024 * 1024
# Operations that one process compares before its result is told, and differences that are shown.
BATCH = 500
SHOWN = 5


@dataclass
class Tally:
    """How many executions were compared, and what came of it."""

    counts: Counter[str] = field(default_factory=Counter[str])
    differences: list[str] = field(default_factory=list[str])


class Counted(CompiledExecutor):
    """Counts what was compiled and what was left to graphql-core."""

    tally: Tally

    def _interpret(self, serially: bool | None) -> Any:
        self.tally.counts["left to graphql-core" if self.answers else "not compiled"] += 1
        return super()._interpret(serially)


def schemas(tally: Tally) -> tuple[strawberry.Schema, strawberry.Schema]:
    """The one that graphql-core executes, and the one that is compiled."""
    base = compiled_executor(PLANS_BYTES)
    compiled = type("Compiled", (Counted,), {"plans": base.plans, "tally": tally})
    parts: dict[str, Any] = {
        "query": Query,
        "mutation": Mutation,
        "subscription": Subscription,
        "types": [Tool, Person],
        "extensions": [ParserCache, ValidationCache],
    }
    return QuietSchema(**parts), QuietSchema(**parts, execution_context_class=compiled)


class Scramble(Visitor):
    """Puts directives, aliases, fragments and variables into a document."""

    def __init__(self, seed_: int) -> None:
        super().__init__()
        self.dice = random.Random(seed_)
        self.variables: dict[str, tuple[str, Any]] = {}

    def enter_field(self, node: FieldNode, *_rest: object) -> FieldNode | None:
        changes: dict[str, Any] = {}
        if self.dice.random() < 0.2:
            names = self.dice.choice(
                ["@include(if: $a)", "@skip(if: $b)", "@include(if: true)", "@skip(if: $b) @include(if: $c)"]
            )
            self._declare(names)
            [definition] = parse(f"{{ x {names} }}").definitions
            changes["directives"] = definition.selection_set.selections[0].directives
        if self.dice.random() < 0.1:
            changes["alias"] = NameNode(value=self.dice.choice("xyz") + node.name.value)
        return _changed(node, changes)

    def enter_argument(self, node: ArgumentNode, *_rest: object) -> ArgumentNode | None:
        kinds: dict[type[Node], str] = {IntValueNode: "Int", StringValueNode: "ID", BooleanValueNode: "Boolean"}
        kind = kinds.get(type(node.value))
        if kind is None or self.dice.random() < 0.4 or node.name.value == "if":
            return None
        name = f"v{len(self.variables)}"
        value = node.value.value
        self.variables[name] = (
            kind + self.dice.choice(["", "!"]),
            int(value) if kind == "Int" else value,
        )
        return _changed(node, {"value": VariableNode(name=NameNode(value=name))})

    def _declare(self, text: str) -> None:
        for name in "abc":
            if f"${name}" in text and name not in self.variables:
                self.variables[name] = ("Boolean!", self.dice.random() < 0.5)


def _changed(node: Any, changes: dict[str, Any]) -> Any:
    if not changes:
        return None
    values = {key: getattr(node, key) for key in node.keys}
    return type(node)(**{**values, **changes})


def scrambled(text: str, seed_: int) -> tuple[str, dict[str, Any]]:
    """A document and its variables."""
    scramble = Scramble(seed_)
    document = visit(parse(text), scramble)
    [operation, *_] = document.definitions
    printed = print_ast(operation)
    declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in scramble.variables.items())
    kind = operation.operation.value
    body = printed[printed.index("{", printed.index(")") if printed.startswith(f"{kind} (") else 0) :]
    spread = ""
    if scramble.dice.random() < 0.3:
        root = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}[kind]
        spread, body = f"\nfragment F on {root} {body}", "{ ...F ... on " + root + " { __typename } }"
        if kind == "subscription":
            body = "{ ...F }"
    text = f"{kind} Q{f'({declared})' if declared else ''} {body}{spread}"
    return text, {name: value for name, (_, value) in scramble.variables.items() if value is not None}


async def execute(schema: strawberry.Schema, text: str, variables: dict[str, Any], faults: Faults) -> list[Any]:
    """All results of an operation, one for a query."""
    FAULTS.set(faults)
    try:
        if text.startswith("subscription"):
            return [_plain(result) async for result in await schema.subscribe(text, variables)]
        return [_plain(await schema.execute(text, variables))]
    finally:
        faults.close()


def _plain(result: Any) -> tuple[str, list[str]]:
    errors = sorted(json.dumps(error.formatted, sort_keys=True, default=str) for error in result.errors or ())
    return json.dumps(result.data, default=str), errors


def differ(expected: list[Any], found: list[Any]) -> bool:
    """Whether results differ in more than what the specification leaves open.

    Of several errors that make one parent null, it is open which are reported.
    """
    if len(expected) != len(found):
        return True
    for (data, errors), (other_data, other_errors) in zip(expected, found, strict=True):
        if data != other_data or bool(errors) != bool(other_errors):
            return True
        odd = set(errors) ^ set(other_errors)
        if not all(_is_below_null(json.loads(data), json.loads(error).get("path") or []) for error in odd):
            return True
    return False


def _is_below_null(data: Any, path: list[Any]) -> bool:
    for key in path[:-1]:
        if data is None:
            return True
        data = data[key]
    return data is None


async def compare(
    pair: tuple[strawberry.Schema, strawberry.Schema], tally: Tally, case: tuple[str, Any, int, float]
) -> None:
    """Execute one case by both, several times."""
    text, variables, seed_, rate = case
    interpreted, compiled = pair
    expected: list[Any] = []
    for _ in range(REPETITIONS):
        expected_faults, found_faults = Faults(seed_, rate), Faults(seed_, rate)
        expected = await execute(interpreted, text, variables, expected_faults)
        found = await execute(compiled, text, variables, found_faults)
        tally.counts["executions"] += 1
        tally.counts["with errors"] += any(errors for _, errors in expected)
        if differ(expected, found):
            tally.differences.append(f"{case!r}\n  graphql-core: {expected!r}\n  compiled:     {found!r}")
        elif expected == found and sorted(expected_faults.calls) != sorted(found_faults.calls):
            # Below what is null anyway it is open which resolvers are still called, but never twice.
            twice = [
                call
                for call, times in Counter(found_faults.calls).items()
                if times > Counter(expected_faults.calls)[call] + 1
            ]
            if twice or not any(errors for _, errors in expected):
                tally.differences.append(
                    f"{case!r}\n  other calls: {sorted(set(expected_faults.calls) ^ set(found_faults.calls))} {twice}"
                )
    together = [execute(compiled, text, variables, Faults(seed_, rate)) for _ in range(AT_ONCE)]
    for found in await asyncio.gather(*(asyncio.create_task(one) for one in together)):
        if differ(expected, found):
            tally.differences.append(f"{case!r} at once\n  graphql-core: {expected!r}\n  compiled:     {found!r}")
    await asyncio.sleep(0)


def fuzz(cases: int, seed_: int) -> Tally:
    """Compare so many operations. Documents that are not valid come on top."""
    tally = Tally()
    pair = schemas(tally)
    # graphql-core leaves some awaitables behind where a sibling fails; Python would tell of each when it is collected.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning), asyncio.Runner() as runner:
        for rate in RATES:
            for document, variables, number in _operations(pair[0], max(1, cases // len(RATES)), seed_, tally):
                runner.run(compare(pair, tally, (document, variables, number, rate)))
                tally.counts["operations"] += 1
        gc.collect()
    return tally


def _operations(schema: strawberry.Schema, count: int, seed_: int, tally: Tally) -> list[tuple[str, Any, int]]:
    """Operations with their variables, each with a number for what is left to chance."""
    found: list[tuple[str, Any, int]] = []

    @seed(seed_)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(text=from_schema(schema.as_str()), number=st.integers(0, 10**6))
    def collect(text: str, number: int) -> None:
        document, variables = scrambled(text, number)
        if validate(schema._schema, parse(document)):
            tally.counts["not valid"] += 1
            reject()
        found.append((document, variables, number))

    collect()
    return found


def main() -> None:
    """Compare as many operations as the argument says, and tell; ends with 1 where any differ."""
    # Names that are told at the very end, without what Python itself needs to warn.
    sys.unraisablehook = lambda _: None
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    batches = [min(BATCH, cases - done) for done in range(0, cases, BATCH)]
    whole = Tally()
    with ProcessPoolExecutor(mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        for tally in processes.map(fuzz, batches, range(first, first + len(batches))):
            whole.counts += tally.counts
            for difference in tally.differences[: SHOWN - len(whole.differences)]:
                print(difference)
            whole.differences += tally.differences
            print(dict(whole.counts), f"differences: {len(whole.differences)}", flush=True)
    sys.exit(bool(whole.differences))


if __name__ == "__main__":
    main()
