"""Names of branches: what git refuses is refused where it was given, before anything else is asked or written."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import InvalidInput
from app.models.provider_account import ProviderType
from app.services.git.hosts import checked_branch
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
COUNT = "{ conversations { totalCount } }"
REFUSED = {
    "nothing": "",
    "a space": "a b",
    "blank": " ",
    "two dots": "a..b",
    "only dots": "..",
    "a tilde": "a~1",
    "a caret": "a^",
    "a colon": "a:b",
    "a question mark": "a?",
    "a star": "a*",
    "a bracket": "a[b",
    "a backslash": "a\\b",
    "a reflog": "a@{1}",
    "an at sign": "@",
    "the head": "HEAD",
    "a leading dash": "-b",
    "an option": "--upload-pack=touch /tmp/x",
    "a leading slash": "/a",
    "a trailing slash": "a/",
    "two slashes": "a//b",
    "a leading dot": ".a",
    "a part with a leading dot": "a/.b",
    "a trailing dot": "a.",
    "a lock": "a.lock",
    "a part that is a lock": "a.lock/b",
    "a line": "a\nb",
    "a tab": "a\tb",
    "a bell": "a\x07",
    "a delete": "a\x7f",
    "a null": "a\x00b",
    "an escape": "\x1b[31m",
    "half a pair": "a\ud800",
    "half a pair alone": "\udfff",
    "direction": "a\u202eb",
    "300 characters": "x" * 300,
    "256 characters": "x" * 256,
}
TAKEN = [
    "main",
    "a/b/c",
    "feature/x-1",
    "v1.0",
    "a@b",
    "-".join("ab"),
    "straße",
    "日本",
    "x" * 255,
    "a.b/c",
    "@a",
    "a{b}",
    'a"b',
]


@pytest.fixture(scope="module")
def provider() -> FakeGitProvider:
    return FakeGitProvider(ProviderType.GITHUB, [repository(1, "ada/engine")])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: FakeGitProvider) -> Iterator[RunningServer]:
    """Names are the same on every database, so one will do."""
    providers = {ProviderType.GITHUB: provider}
    with running_server(tmp_path_factory.mktemp("data"), git_providers=providers) as started:
        yield started


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
async def test_a_malformed_branch_is_refused_at_its_place(client: Client, provider: FakeGitProvider, name: str) -> None:
    await steps.save_settings(client)
    provider.calls.clear()
    event = {"type": "MessageEvent", "sequence": 1, "run": 1, "source": "USER", "text": "Hello"}
    replay = {"version": 1, "events": [{**event, "createdAt": "2026-01-01T00:00:00+00:00"}]}
    for given in (
        {"repository": NAME},
        {"repository": NAME, "initialMessage": {"text": "Hello"}, "idempotencyKey": "k"},
        {"replay": replay},
        {"replay": replay, "repository": NAME},
        {},
    ):
        data = await client.execute(documents.CREATE, input={**given, "branchName": name})
        [fault] = data["createConversation"]["userErrors"]
        assert (fault["code"], fault["path"]) == ("INVALID_INPUT", ["branchName"]), (given, fault)
        assert data["createConversation"]["conversation"] is None
    assert provider.calls == []
    assert (await client.execute(COUNT))["conversations"]["totalCount"] == 0


def takes(name: str) -> bool:
    """Whether git itself takes the name, and not for another one as it does with ``@{-1}``."""
    command = ["git", "check-ref-format", "--branch", name]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0
    except (ValueError, UnicodeEncodeError):
        # No process can be given it.
        return False


def test_git_refuses_no_more_than_is_refused_here() -> None:
    parts = ["a", "-", ".", "/", "@", "{", "~", "^", ":", "?", "*", "[", "\\", " ", "\x07", "\x7f", ".lock", "HEAD"]
    names = [first + second + third for first in ["", *parts] for second in ["", *parts] for third in parts]
    for name in sorted(set(names)):
        try:
            checked_branch(name)
        except InvalidInput:
            continue
        assert takes(name), name


@pytest.mark.parametrize("name", TAKEN)
def test_what_git_takes_is_taken(name: str) -> None:
    assert takes(name)
    assert checked_branch(name) == name
