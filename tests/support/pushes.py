"""Commits and pushes of workspaces to a git server, as callers make them."""

from pathlib import Path
from typing import Any, cast

from tests.support import documents
from tests.support.client import Client
from tests.support.git_server import GitServer, git

JSON = dict[str, Any]


class Origin:
    """A repository at the git host with three commits, and a conversation that cloned it."""

    def __init__(self, git_host: GitServer, bare: Path, name: str, conversation_id: str, path: Path) -> None:
        self.git_host = git_host
        self.bare = bare
        self.name = name
        self.conversation_id = conversation_id
        self.path = path

    def told(self, *arguments: str) -> str:
        """Run git at the host, and return its output."""
        return git(self.bare, *arguments).strip()

    def inside(self, *arguments: str) -> str:
        """Run git in the workspace, and return its output."""
        return git(self.path, "-c", "safe.directory=*", *arguments).strip()

    def refs(self) -> list[str]:
        """Return all references at the host."""
        return self.told("for-each-ref", "--format=%(refname) %(objectname)").splitlines()


async def commit(client: Client, origin: Origin, text: str = "changed\n", name: str = "README.md") -> str:
    """Change a file and commit it; return the commit's hash."""
    (origin.path / name).parent.mkdir(parents=True, exist_ok=True)
    (origin.path / name).write_text(text)
    given = {"conversationId": origin.conversation_id, "message": f"Change {name}"}
    data = await client.execute(documents.COMMIT, input=given)
    assert data["commitWorkspace"]["userErrors"] == []
    return cast("str", data["commitWorkspace"]["commit"]["sha"])


async def push(client: Client, origin: Origin, branch: str = "fix/typo", **fields: object) -> JSON:
    given = {"conversationId": origin.conversation_id, "branchName": branch, **fields}
    return cast("JSON", (await client.execute(documents.PUSH, input=given))["pushBranch"])


async def pushed(client: Client, origin: Origin, branch: str = "fix/typo", **fields: object) -> JSON:
    """Push; it must succeed. Return the pushed branch."""
    payload = await push(client, origin, branch, **fields)
    assert payload["userErrors"] == []
    return cast("JSON", payload["pushedBranch"])


async def refused(client: Client, origin: Origin, branch: str = "fix/typo", **fields: object) -> JSON:
    """Push; it must fail and change nothing at the host. Return the error."""
    before = origin.refs()
    payload = await push(client, origin, branch, **fields)
    assert payload["pushedBranch"] is None
    assert origin.refs() == before
    [fault] = payload["userErrors"]
    return cast("JSON", fault)


async def store_token(client: Client, token: str) -> None:
    """Save a token for the private git host, instead of an earlier one."""
    host = client.server.config.git_private_hosts[0].removeprefix("http://")
    data = await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": token, "host": host})
    assert data["setProviderToken"]["userErrors"] == []
