"""Generated and inferred TypeScript types against a running server: ``clients/codegen``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import node, steps
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM, last_user_text
from tests.support.server import RunningServer, running_server

CODEGEN = node.CLIENTS / "codegen"
# Of both test files: they have the same tour, once with each kind of types.
PASSING = (
    "typed documents create a conversation, watch it and delete it",
    "an expected failure is data, with its kind and where it lies",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What is tried is on this side of the database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


async def test_the_client_is_well_typed() -> None:
    assert await node.check_types("codegen") == ""


async def test_the_types_that_code_generator_makes_are_new(tmp_path: Path) -> None:
    committed = CODEGEN / "src" / "codegen" / "generated"
    config = (CODEGEN / "codegen.ts").read_text().replace("src/codegen/generated/", f"{tmp_path}/")
    (tmp_path / "codegen.ts").write_text(config)
    code, output = await node.run(
        node.installed("codegen") / "@graphql-codegen/cli/cjs/bin.js",
        "--config",
        tmp_path / "codegen.ts",
        "--project-root",
        CODEGEN,
        directory=CODEGEN,
    )

    assert code == 0, output
    for name in ("gql.ts", "graphql.ts", "index.ts"):
        assert (tmp_path / name).read_text() == (committed / name).read_text(), "npm run generate"


async def test_the_schema_that_gql_tada_reads_is_new(tmp_path: Path) -> None:
    output_file = tmp_path / "schema.d.ts"
    code, output = await node.run(
        node.installed("codegen") / "gql.tada/bin/cli.js", "generate-output", "--output", output_file, directory=CODEGEN
    )

    assert code == 0, output
    assert output_file.read_text() == (CODEGEN / "src" / "tada" / "schema.d.ts").read_text(), "npm run generate"


@pytest.mark.parametrize("kind", ["codegen", "tada"])
async def test_typed_documents_and_the_server_agree(client: Client, llm: ScriptedLLM, kind: str) -> None:
    await steps.save_settings(client, llm)
    outcome = await node.run_tests("codegen", kind, client)

    assert outcome == node.Outcome(PASSING, "")
    assert [last_user_text(request.body) for request in llm.requests] == ["Hello"]
    assert await client.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}
