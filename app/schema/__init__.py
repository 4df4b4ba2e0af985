"""GraphQL types of the API: objects, inputs, payloads, connections and user errors, with conversions from rows."""

from app.schema import enumeration

__all__ = ["enumeration"]
