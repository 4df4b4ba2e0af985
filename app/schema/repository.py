"""GraphQL types of git repositories and their branches: objects, connections and inputs."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry import Private
from strawberry.types.nodes import FragmentSpread, InlineFragment, Selection

from app.context import Context
from app.models import git_repository as models
from app.models.provider_account import ProviderType
from app.schema.connection import PageInfo, check_count
from app.schema.node import Node, branch_id, repository_id, repository_key
from app.schema.scalar import URI
from app.services.repository import BranchQuery, Page, RepositoryChoice

Info = strawberry.Info[Context, None]

DEFAULT_FIRST = 20
NAME_ONLY = {"name", "__typename"}


@strawberry.type(description="A branch of a git repository, as its provider last told of it.")
class Branch(Node):
    name: str = strawberry.field(description="Such as `main`, without `refs/heads/`.")
    commit_sha: str = strawberry.field(description="The branch's last commit.")
    is_protected: bool = strawberry.field(description="True if the provider protects the branch.")


@strawberry.type(description="A branch and its place in a list.")
class BranchEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same list.")
    node: Branch = strawberry.field(description="The branch.")


@strawberry.type(description="A page of branches.")
class BranchConnection:
    edges: list[BranchEdge] = strawberry.field(description="The branches with their cursors.")
    nodes: list[Branch] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")


@strawberry.type(description="A git repository, as its provider last told of it.")
class Repository(Node):
    row: Private[models.GitRepository]
    provider: ProviderType = strawberry.field(description="The kind of host it is at.")
    name_with_owner: str = strawberry.field(description="`owner/name`.")
    url: URI = strawberry.field(description="Its page for people.")
    is_private: bool = strawberry.field(description="True if only authorized people can see it.")

    @strawberry.field(description="Null when the repository is empty.")
    async def default_branch(self, info: Info) -> Branch | None:
        name = self.row.default_branch_name
        if name is None:
            return None
        # GraphQL merges selections of one field, from fragments too, so the lookahead must cover all of them.
        if _selected(chain.from_iterable(field.selections for field in info.selected_fields)) <= NAME_ONLY:
            # The row has the branch's name. Other fields would need a request to the provider.
            unread = models.GitBranch(
                repository_id=self.row.id, name=name, commit_sha="", is_protected=False, seen_at=datetime.now(UTC)
            )
            return convert_branch(unread)
        branch = await info.context.default_branches.load(self.row.id)
        return convert_branch(branch) if branch is not None else None

    @strawberry.field(description="Asks the git provider; null with an error when it cannot be reached.")
    async def branches(
        self,
        info: Info,
        first: Annotated[int | None, strawberry.argument(description="The page's size, 1 to 100.")] = DEFAULT_FIRST,
        after: Annotated[str | None, strawberry.argument(description="Only what stands behind this cursor.")] = None,
        query: Annotated[
            str | None,
            strawberry.argument(description="Only branches whose name contains this, at most 200 characters."),
        ] = None,
    ) -> BranchConnection | None:
        query_of_page = BranchQuery(first=check_count("first", first, DEFAULT_FIRST), query=query, after=after)
        context = info.context
        page = await context.services.repository.branches(self.row, query_of_page, context.git_calls)
        edges = [BranchEdge(cursor=cursor, node=convert_branch(row)) for cursor, row in page.edges]
        return BranchConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=_page_info(page, after))


@strawberry.type(description="A repository and its place in a list.")
class RepositoryEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same list.")
    node: Repository = strawberry.field(description="The repository.")


@strawberry.type(description="A page of repositories.")
class RepositoryConnection:
    edges: list[RepositoryEdge] = strawberry.field(description="The repositories with their cursors.")
    nodes: list[Repository] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")


@strawberry.input(description="A repository by its provider and name.")
class RepositoryName:
    provider: ProviderType = strawberry.field(description="The kind of host it is at.")
    name_with_owner: str = strawberry.field(description="`owner/name`.")


@strawberry.input(description="Exactly one way to name a repository.", one_of=True)
class RepositoryRef:
    id: strawberry.ID | None = strawberry.field(default=strawberry.UNSET, description="A `Repository`'s ID.")
    by_name: RepositoryName | None = strawberry.field(default=strawberry.UNSET, description="Its provider and name.")

    def to_choice(self) -> RepositoryChoice:
        """Convert to the service's type; a malformed id becomes the nil UUID, which no repository has."""
        if isinstance(self.by_name, RepositoryName):
            return RepositoryChoice(provider=self.by_name.provider, name_with_owner=self.by_name.name_with_owner)
        return RepositoryChoice(id=repository_key(self.id or "") or UUID(int=0))


def convert(row: models.GitRepository) -> Repository:
    """Build the GraphQL object of a row."""
    return Repository(
        id=repository_id(row.id),
        row=row,
        provider=ProviderType(row.provider),
        name_with_owner=row.name_with_owner,
        url=URI(row.url),
        is_private=row.is_private,
    )


def convert_branch(row: models.GitBranch) -> Branch:
    """Build the GraphQL object of a branch's row."""
    return Branch(id=branch_id(row.id), name=row.name, commit_sha=row.commit_sha, is_protected=row.is_protected)


def connection(page: Page[models.GitRepository], after: str | None) -> RepositoryConnection:
    """Build the connection of a page; ``after`` tells whether there is a previous page."""
    edges = [RepositoryEdge(cursor=cursor, node=convert(row)) for cursor, row in page.edges]
    return RepositoryConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=_page_info(page, after))


def _page_info(page: Page[models.GitRepository] | Page[models.GitBranch], after: str | None) -> PageInfo:
    return PageInfo(
        has_next_page=page.has_next_page,
        has_previous_page=after is not None,
        start_cursor=page.edges[0][0] if page.edges else None,
        end_cursor=page.edges[-1][0] if page.edges else None,
    )


def _selected(selections: Iterable[Selection]) -> set[str]:
    """Collect the names of selected fields, also from fragments, but not of fields below them."""
    names: set[str] = set()
    for selection in selections:
        if isinstance(selection, FragmentSpread | InlineFragment):
            names |= _selected(selection.selections)
        else:
            names.add(selection.name)
    return names
