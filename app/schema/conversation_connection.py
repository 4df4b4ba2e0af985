"""Stand-in classes for `Conversation` and its connection, which compiled execution reads directly from rows.

For graphql-core, all fields are attributes too: ``convert`` builds the instance when one is first read.
"""

from functools import cache

from app.execution.columns import Attribute, Field, attribute, item, items, shape_of
from app.execution.shape import Shape
from app.models.database.row import Row
from app.models.rows.conversation import ConversationRow
from app.models.search.query import ConversationQuery
from app.schema.connection import PageInfo, row_edges
from app.schema.conversation import Conversation, ConversationConnection, convert, edge
from app.schema.deferred import Deferred
from app.schema.rows.conversation import FIELDS
from app.schema.rows.layout import layout_of
from app.services.conversation import ConversationPage

CURSOR, ROW = range(2)


class RowConversation(Deferred, Conversation):
    """A stand-in for ``Conversation`` with a row."""

    def __init__(self, row: ConversationRow) -> None:
        self.row = row

    def _made(self) -> Conversation:
        return convert(self.row)

    @staticmethod
    def of(row: ConversationRow) -> "RowConversation":
        """Build the stand-in of a row."""
        return _classes(type(row))[0](row)


class RowConnection(Deferred, ConversationConnection):
    """A stand-in for ``ConversationConnection`` with rows and their cursors."""

    def __init__(self, page: ConversationPage, query: ConversationQuery) -> None:
        self.rows = row_edges(page.rows, query.order)
        self.wanted = query.filter
        self.page_info = PageInfo(
            has_next_page=page.has_next_page,
            has_previous_page=query.after is not None,
            start_cursor=self.rows[0][0] if self.rows else None,
            end_cursor=self.rows[-1][0] if self.rows else None,
        )
        self._page = page
        self._order = query.order

    def _made(self) -> ConversationConnection:
        edges = [edge(row, self._order) for row in self._page.rows]
        nodes = [each.node for each in edges]
        return ConversationConnection(wanted=self.wanted, edges=edges, nodes=nodes, page_info=self.page_info)

    @staticmethod
    def of(page: ConversationPage, query: ConversationQuery) -> "RowConnection":
        """Build the stand-in of a page."""
        return _classes(page.rows.row_class)[1](page, query)


@cache
def _classes(row_class: type[ConversationRow]) -> tuple[type[RowConversation], type[RowConnection]]:
    """Create the stand-in classes for rows of one class, whose shapes have each column's index."""
    layout = layout_of(row_class)

    class ConversationOfRowClass(RowConversation):
        __graphql_shape__ = shape_of(
            {name: Field(Attribute("row", each.value), each.is_leaf) for name, each in FIELDS.items()}, layout
        )

    def conversation(row: Row) -> RowConversation:
        return ConversationOfRowClass(row_class(row))

    node = shape_of(FIELDS, layout, source=conversation)
    edges = Shape({"cursor": item(CURSOR), "node": item(ROW, node)})

    class ConnectionOfRowClass(RowConnection):
        __graphql_shape__ = Shape(
            {
                "edges": attribute("rows", edges),
                "nodes": items("rows", ROW, node),
                "page_info": attribute("page_info"),
            }
        )

    return ConversationOfRowClass, ConnectionOfRowClass
