"""The schema as others judge it: graphql-eslint, and graphql-inspector against the last release."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import node
from tests.support.paths import ROOT, TESTS

CHECKS = TESTS / "schema_checks"
SCHEMA = (ROOT / "schema.graphql").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASED = CHECKS / "released.graphql"
NO_CURSOR = (
    "Edge type must contain a field `cursor` that return either a String, Scalar, "
    "or a non-null wrapper wrapper around one of those types."
)


async def check(program: str, *arguments: Path) -> list[dict[str, Any]]:
    """What one of the checks finds."""
    assert (CHECKS / "node_modules" / "eslint").is_dir(), "make install"
    code, output = await node.run(CHECKS / program, *arguments, directory=CHECKS)
    assert code == 0, output
    return cast("list[dict[str, Any]]", json.loads(output))


async def lint(directory: Path, schema: str) -> list[dict[str, Any]]:
    """The faults of a schema."""
    path = directory / "schema.graphql"
    path.write_text(schema)
    return await check("lint.js", path)


async def breaking(directory: Path, schema: str, changelog: str = CHANGELOG) -> list[str]:
    """What a schema breaks for clients of the last release, and the changelog does not name."""
    paths = (directory / "schema.graphql", directory / "CHANGELOG.md")
    for path, text in zip(paths, (schema, changelog), strict=True):
        path.write_text(text)
    return [change["path"] for change in await check("breaking.js", RELEASED, *paths)]


def changed(before: str, after: str) -> str:
    """The schema with one place of it changed."""
    assert SCHEMA.count(before) == 1
    return SCHEMA.replace(before, after)


async def test_the_schema_passes_every_rule(tmp_path: Path) -> None:
    assert await lint(tmp_path, SCHEMA) == []


@pytest.mark.parametrize(
    ("before", "after", "rule", "message"),
    [
        (
            '  """1 to 200 characters."""\n  title: String!',
            "  title: String!",
            "require-description",
            'Description is required for field "title" in type "Conversation"',
        ),
        (
            '"""A user\'s message: text, images, or both."""\n',
            "",
            "require-description",
            'Description is required for input "MessageInput"',
        ),
        (
            '    """At most 100. Null: all of the caller\'s."""\n',
            "",
            "require-description",
            'Description is required for input value "conversationIds" in field "conversationStatusChanged"',
        ),
        (
            '  """Not running; may be started again."""\n',
            "",
            "require-description",
            'Description is required for enum value "STOPPED" in enum "ConversationStatus"',
        ),
        (
            '  """The conversations with their cursors."""\n  edges: [ConversationEdge!]!',
            '  """The conversations with their cursors."""\n  edges: ConversationEdge!',
            "relay-connection-types",
            "`edges` field must return a list type.",
        ),
        (
            '  """Opaque; resume behind this event with it."""\n  cursor: String!\n\n',
            "",
            "relay-edge-types",
            NO_CURSOR,
        ),
        (
            '  """True if more follows this page."""\n  hasNextPage: Boolean!',
            '  """True if more follows this page."""\n  hasNextPage: Boolean',
            "relay-page-info",
            "Field `hasNextPage` must return non-null Boolean.",
        ),
        (
            '  """The page\'s position in the connection."""\n  pageInfo: PageInfo!\n\n  """Counted',
            '  """The page\'s position in the connection."""\n  pageInfo: PageInfo\n\n  """Counted',
            "relay-connection-types",
            "`pageInfo` field must return a non-null `PageInfo` Object type.",
        ),
    ],
)
async def test_a_fault_of_the_schema_is_found(tmp_path: Path, before: str, after: str, rule: str, message: str) -> None:
    found = await lint(tmp_path, changed(before, after))

    assert [(fault["rule"], fault["message"]) for fault in found] == [(f"@graphql-eslint/{rule}", message)]


async def test_what_the_schema_breaks_for_clients_of_the_last_release_is_told(tmp_path: Path) -> None:
    assert await breaking(tmp_path, SCHEMA) == [], "name it in CHANGELOG.md, in backquotes, if it must be"


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ('  """1 to 200 characters."""\n  title: String!\n\n', "", "Conversation.title"),
        (
            '  """When it was created."""\n  createdAt: DateTime!',
            '  """When it was created."""\n  createdAt: DateTime',
            "Conversation.createdAt",
        ),
        (
            '  """Why it failed, paused or was stopped by the server; null otherwise."""\n  statusReason: Problem\n\n',
            "",
            "Conversation.statusReason",
        ),
        (
            '  """The runtime is being prepared."""\n  STARTING\n\n',
            "",
            "ConversationStatus.STARTING",
        ),
        (
            '    """Only these events."""\n    filter: EventFilter = null\n',
            "",
            "Conversation.events.filter",
        ),
        (
            "  title: String = null\n\n  " + '"""The first message; without one the agent waits for it."""',
            "  title: String!\n\n  " + '"""The first message; without one the agent waits for it."""',
            "CreateConversationInput.title",
        ),
    ],
)
async def test_a_breaking_change_passes_once_the_changelog_names_it(
    tmp_path: Path, before: str, after: str, path: str
) -> None:
    schema = changed(before, after)
    entry = f"## [Unreleased]\n\n### Removed\n\n- What `{path}` was, is told otherwise.\n"

    assert await breaking(tmp_path, schema) == [path]
    assert await breaking(tmp_path, schema, CHANGELOG.replace("## [Unreleased]\n", entry, 1)) == []


async def test_the_changelog_names_a_breaking_change_where_people_look_for_it(tmp_path: Path) -> None:
    schema = changed('  """1 to 200 characters."""\n  title: String!\n\n', "")
    changelogs = (
        "## [Unreleased]\n\n### Added\n\n- `Conversation.title` is new.\n",
        "## [Unreleased]\n\n### Removed\n\n- Conversation.title, without backquotes.\n",
        "## [Unreleased]\n\n## [0.1.0]\n\n### Removed\n\n- `Conversation.title`, long ago.\n",
    )

    for changelog in changelogs:
        # None of these changelogs names what was changed since the release.
        before = await breaking(tmp_path, SCHEMA, changelog)
        assert "Conversation.title" not in before
        assert await breaking(tmp_path, schema, changelog) == ["Conversation.title", *before]


async def test_what_is_added_breaks_nobody(tmp_path: Path) -> None:
    schema = changed(
        '  """Why it failed, paused or was stopped by the server; null otherwise."""',
        '  """How good it is."""\n  rating: Int\n\n'
        '  """Why it failed, paused or was stopped by the server; null otherwise."""',
    )

    assert await breaking(tmp_path, schema) == []
