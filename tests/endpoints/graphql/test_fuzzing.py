"""Documents that nobody thought of: valid ones, and ones that break a rule of the schema.

None may end in an unexpected error, in a status that tells of one, or in a reply that is slower than a request may be.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import schemathesis
from graphql import parse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import Mode, from_schema, nodes
from schemathesis import checks

from app.config import Config
from tests.support.client import NO_TLS
from tests.support.paths import ROOT
from tests.support.patience import PROGRAM_SECONDS

SDL = (ROOT / "schema.graphql").read_text()
TIME_LIMIT_SECONDS = cast("float", Config.model_fields["request_timeout_seconds"].default)
# What a server may be asked for so often in a test run; `--hypothesis-seed` finds others.
PROFILE = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
ODD = st.sampled_from(["", "\x00", "\ud83d\ude42", "' OR 1=1 --", "../../etc/passwd", "x" * 3000])
SCALARS: dict[str, Any] = {
    "Secret": (st.text(max_size=50) | ODD).map(nodes.String),
    "URI": st.sampled_from(["http://127.0.0.1:9/v1", "not a URI", "data:image/png;base64,AAAA", ""]).map(nodes.String),
    "DateTime": st.sampled_from(["2026-11-22T10:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x"]).map(
        nodes.String
    ),
    "Long": st.sampled_from([0, 5, -1, 2**31, 2**63 - 1]).map(nodes.Int),
    "JSON": st.sampled_from([nodes.Null, nodes.Int(5), nodes.List([]), nodes.Object([]), nodes.String("{}")]),
}
WORDS = """
{ } ( ) [ ] ... on query mutation subscription fragment F on Query @include " \"\"\" $a : ! & | = # id settings 1e999 -0
"""
PIECES = [*WORDS.split(), "\n", "\ufeff", "\x00"]
DOCUMENTS = from_schema(SDL, custom_scalars=SCALARS)
FAULTY = from_schema(SDL, custom_scalars=SCALARS, mode=Mode.NEGATIVE)


@dataclass(frozen=True)
class Served:
    """A server in a process of its own, since Hypothesis watches the random numbers of this one."""

    url: str
    log: Path
    http: httpx.Client

    def answer(self, document: str, **request: object) -> httpx.Response:
        """The reply. httpx.TimeoutException when it takes longer than a request may."""
        return self.http.post("/graphql", content=json.dumps({"query": document, **request}))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("fuzzed")
    log = directory / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.served", str(directory / "data")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        headers = {"Content-Type": "application/json", "Accept": "application/graphql-response+json"}
        with httpx.Client(base_url=url, headers=headers, timeout=TIME_LIMIT_SECONDS, verify=NO_TLS) as http:
            yield Served(url, log, http)
        process.communicate(timeout=PROGRAM_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def codes(response: httpx.Response) -> set[object]:
    """The codes of the errors, ``None`` for one that has none."""
    errors = cast("list[dict[str, Any]]", response.json().get("errors", []))
    return {error.get("extensions", {}).get("code") for error in errors}


@pytest.mark.timeout(240)
def test_a_valid_document_is_executed_and_fails_in_expected_ways_only(served: Served) -> None:
    statuses = list[int]()

    @PROFILE
    @given(document=DOCUMENTS)
    def ask(document: str) -> None:
        response = served.answer(document)
        statuses.append(response.status_code)
        assert response.status_code in {200, 400}, response.text
        assert "INTERNAL_ERROR" not in codes(response), (document, response.text)

    ask()
    assert "unexpected_error" not in served.log.read_text()
    # What is too large is refused, and what Hypothesis takes for valid: it knows nothing of `@oneOf`.
    assert statuses.count(200) > len(statuses) / 2


@pytest.mark.timeout(240)
def test_a_document_that_breaks_the_schemas_rules_is_refused_as_such(served: Served) -> None:
    @PROFILE
    @given(document=FAULTY)
    def ask(document: str) -> None:
        response = served.answer(document)
        assert (response.status_code, "data" in response.json()) == (400, False), (document, response.text)
        assert "INTERNAL_ERROR" not in codes(response), (document, response.text)

    ask()
    assert "unexpected_error" not in served.log.read_text()


@pytest.mark.timeout(240)
def test_what_is_no_document_is_refused_as_such(served: Served) -> None:
    pieces = st.sampled_from(PIECES)

    @PROFILE
    @given(document=st.lists(pieces, max_size=40).map(" ".join), name=st.none() | st.text(max_size=5))
    def ask(document: str, name: str | None) -> None:
        response = served.answer(document, operationName=name)
        assert response.status_code in {200, 400}, (document, response.text)
        assert "INTERNAL_ERROR" not in codes(response), (document, response.text)

    ask()
    assert "unexpected_error" not in served.log.read_text()


@pytest.mark.timeout(240)
def test_schemathesis_finds_no_fault(served: Served) -> None:
    for name, strategy in SCALARS.items():
        schemathesis.graphql.scalar(name, strategy)
    # Its types are generic over parts that GraphQL has none of.
    schema = cast("Any", schemathesis.graphql.from_url(f"{served.url}/graphql"))
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == len(fields_of("Query")) + len(fields_of("Mutation"))
    for operation in operations:
        examine(operation)
    assert "unexpected_error" not in served.log.read_text()


def examine(operation: Any) -> None:
    """Send requests for one operation, and have the replies checked."""

    @settings(PROFILE, max_examples=10)
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        response = case.call(timeout=TIME_LIMIT_SECONDS)
        assert response.status_code < 500, response.content
        assert b"INTERNAL_ERROR" not in response.content, (case.body, response.content)
        # These take every error for a fault, such as one about a value that no scalar has.
        names = {"not_a_server_error", "positive_data_acceptance"}
        case.validate_response(response, excluded_checks=cast("Any", checks).CHECKS.get_by_names(names))

    ask()


def fields_of(kind: str) -> list[str]:
    """The fields of a root type."""
    [found] = [node for node in parse(SDL).definitions if getattr(getattr(node, "name", None), "value", "") == kind]
    return [field.name.value for field in cast("Any", found).fields]
