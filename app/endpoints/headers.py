"""A request's headers as a dictionary, which is built once and cached in the ASGI scope."""

from starlette.types import Scope

_KEY = "parley.headers"


class Headers(dict[bytes, bytes]):
    """Header values by lower-case name; of repeated headers, the first one counts."""

    def text(self, name: bytes, default: str | None = None) -> str | None:
        """Return a header's value, decoded as Latin-1."""
        value = self.get(name)
        return default if value is None else value.decode("latin-1")


def headers_of(scope: Scope) -> Headers:
    """Return the request's headers, cached in the scope."""
    headers = scope.get(_KEY)
    if headers is None:
        headers = scope[_KEY] = Headers(reversed(scope["headers"]))
    return headers
