"""Pull requests of a fake git host, with the requests, answers and refusals that the three providers document."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import cast

from app.models.provider_account import ProviderType

JSON = dict[str, object]
Answer = tuple[int, object]
MAX_TITLE = 255


@dataclass
class Proposed:
    """A pull request. ``state`` is ``open``, ``closed`` or ``merged``; ``is_fork``: its head is in a fork."""

    number: int
    title: str
    body: str
    head: str
    base: str
    is_draft: bool
    state: str = "open"
    is_fork: bool = False


@dataclass
class PullRequests:
    """The pull requests of one repository of the host.

    ``has_scope`` false: the token may not write. ``are_ahead`` tells whether the head has commits that the base lacks.
    """

    provider: ProviderType
    name: str
    proposed: list[Proposed] = field(default_factory=list[Proposed])
    bodies: list[JSON] = field(default_factory=list[JSON])
    has_scope: bool = True
    are_ahead: Callable[[str, str], bool] = lambda _head, _base: True

    def answer(
        self, method: str, rest: str, query: Mapping[str, str], body: bytes, branches: Collection[str]
    ) -> Answer:
        """Answer a request below the repository's path: ``rest`` is "" for the list, or ``/number``."""
        if method == "POST":
            return self._create(body, branches) if not rest else (404, self._fault("Not Found"))
        if not rest:
            found = [self._shown(each) for each in self._filtered(query)]
            return 200, {"values": found} if self.provider is ProviderType.BITBUCKET else found
        matches = [each for each in self.proposed if rest == f"/{each.number}"]
        return (200, self._shown(matches[0])) if matches else (404, self._fault("Not Found"))

    def _filtered(self, query: Mapping[str, str]) -> list[Proposed]:
        match self.provider:
            case ProviderType.GITHUB:
                # Without an owner before it, GitHub ignores the branch.
                owner, colon, branch = query.get("head", "").partition(":")
                head = branch if colon and owner == self.name.split("/")[0] else None
                wanted = (head, query.get("base"), query.get("state", "open"))
            case ProviderType.GITLAB:
                state = {"opened": "open"}.get(query.get("state", "all"), query.get("state"))
                wanted = (query.get("source_branch"), query.get("target_branch"), state)
            case ProviderType.BITBUCKET:
                terms = dict(re.findall(r'([a-z.]+) = "((?:[^"\\]|\\.)*)"', query.get("q", 'state = "OPEN"')))
                state = terms.get("state", "").lower() or None
                wanted = (terms.get("source.branch.name"), terms.get("destination.branch.name"), state)
        return [
            each
            for each in self.proposed
            if all(
                given in {None, "all", seen}
                for given, seen in zip(wanted, (each.head, each.base, each.state), strict=True)
            )
        ]

    def _create(self, body: bytes, branches: Collection[str]) -> Answer:
        if not self.has_scope:
            return 403, self._no_scope()
        given = cast("JSON", json.loads(body))
        self.bodies.append(given)
        title, text, head, base, is_draft = self._fields(given)
        status = 422 if self.provider is ProviderType.GITHUB else 400
        if not title or not head or not base or not isinstance(is_draft, bool) or not isinstance(text, str):
            return status, self._fault("A field is missing or malformed", "title")
        if len(title) > MAX_TITLE:
            return status, self._fault(f"title is too long (maximum is {MAX_TITLE} characters)", "title")
        for name, branch in (("head", head), ("base", base)):
            if branch not in branches:
                return status, self._fault(f"{branch} does not exist", name)
        same = [
            each
            for each in self.proposed
            if (each.head, each.base, each.state, each.is_fork) == (head, base, "open", False)
        ]
        if same:
            return self._exists(same[0])
        if not self.are_ahead(head, base):
            return status, self._fault(f"No commits between {base} and {head}")
        created = Proposed(len(self.proposed) + 1, title, text, head, base, is_draft)
        self.proposed.append(created)
        return 201, self._shown(created)

    def _fields(self, given: JSON) -> tuple[str, object, str, str, object]:
        """Title, body, head, base and draft, by the names that the provider gives them; "" for what is missing."""

        def text(*path: str) -> str:
            value: object = given
            for name in path:
                fields = cast("object", value if isinstance(value, dict) else {})
                value = cast("JSON", fields).get(name)
            return value if isinstance(value, str) else ""

        match self.provider:
            case ProviderType.GITHUB:
                return text("title"), given.get("body", ""), text("head"), text("base"), given.get("draft", False)
            case ProviderType.GITLAB:
                is_draft = text("title").startswith("Draft:")
                return (
                    text("title"),
                    given.get("description", ""),
                    text("source_branch"),
                    text("target_branch"),
                    is_draft,
                )
            case ProviderType.BITBUCKET:
                head, base = text("source", "branch", "name"), text("destination", "branch", "name")
                return text("title"), given.get("description", ""), head, base, given.get("draft", False)

    def _exists(self, same: Proposed) -> Answer:
        owner = self.name.split("/")[0]
        match self.provider:
            case ProviderType.GITHUB:
                return 422, self._fault(f"A pull request already exists for {owner}:{same.head}.")
            case ProviderType.GITLAB:
                said = f"Another open merge request already exists for this source branch: !{same.number}"
                return 409, {"message": [said]}
            case ProviderType.BITBUCKET:
                return 400, self._fault("There is already an open pull request between these branches")

    def _fault(self, message: str, named: str | None = None) -> JSON:
        match self.provider:
            case ProviderType.GITHUB:
                if named in {"head", "base"}:
                    fault = {"resource": "PullRequest", "field": named, "code": "invalid"}
                else:
                    fault = {"resource": "PullRequest", "code": "custom", "message": message}
                return {"message": "Validation Failed", "errors": [fault], "status": "422"}
            case ProviderType.GITLAB:
                return {"message": {named: [message]} if named else [message]}
            case ProviderType.BITBUCKET:
                return {"type": "error", "error": {"message": message, "fields": {named: [message]} if named else {}}}

    def _no_scope(self) -> JSON:
        match self.provider:
            case ProviderType.GITHUB:
                return {"message": "Resource not accessible by personal access token", "status": "403"}
            case ProviderType.GITLAB:
                said = "The request requires higher privileges than provided by the access token."
                return {"error": "insufficient_scope", "error_description": said, "scope": "api"}
            case ProviderType.BITBUCKET:
                message = "Your credentials lack one or more required privilege scopes."
                detail = {"granted": ["repository"], "required": ["pullrequest:write"]}
                return {"type": "error", "error": {"message": message, "detail": detail}}

    def _shown(self, each: Proposed) -> JSON:
        match self.provider:
            case ProviderType.GITHUB:
                repository = {"id": 1, "full_name": self.name}
                fork = {"id": 2, "full_name": f"fork/{self.name.split('/')[1]}"}
                merged_at = "2026-11-29T12:00:00Z" if each.state == "merged" else None
                return {
                    "number": each.number,
                    "html_url": f"https://evil.example/{each.number}",
                    "state": "open" if each.state == "open" else "closed",
                    "merged_at": merged_at,
                    "title": each.title,
                    "body": each.body,
                    "draft": each.is_draft,
                    "head": {"ref": each.head, "repo": fork if each.is_fork else repository},
                    "base": {"ref": each.base, "repo": repository},
                }
            case ProviderType.GITLAB:
                return {
                    "id": 1000 + each.number,
                    "iid": each.number,
                    "web_url": f"https://evil.example/{each.number}",
                    "state": "opened" if each.state == "open" else each.state,
                    "title": each.title,
                    "description": each.body,
                    "draft": each.is_draft,
                    "source_branch": each.head,
                    "target_branch": each.base,
                    "source_project_id": 2 if each.is_fork else 1,
                    "target_project_id": 1,
                }
            case ProviderType.BITBUCKET:
                states = {"open": "OPEN", "closed": "DECLINED", "merged": "MERGED"}
                repository = {"type": "repository", "uuid": "{1}", "full_name": self.name}
                fork = {"type": "repository", "uuid": "{2}", "full_name": "fork/engine"}
                return {
                    "id": each.number,
                    "links": {"html": {"href": f"https://evil.example/{each.number}"}},
                    "state": states[each.state],
                    "title": each.title,
                    "description": each.body,
                    "draft": each.is_draft,
                    "source": {"branch": {"name": each.head}, "repository": fork if each.is_fork else repository},
                    "destination": {"branch": {"name": each.base}, "repository": repository},
                }
