"""The headers of a request, read once for everybody who asks."""

from starlette.types import Scope

_KEY = "parley.headers"


class Headers(dict[bytes, bytes]):
    """By name in lower case; of a header that came several times the first counts."""

    def text(self, name: bytes, default: str | None = None) -> str | None:
        """A header's value."""
        value = self.get(name)
        return default if value is None else value.decode("latin-1")


def headers_of(scope: Scope) -> Headers:
    """The headers of the request that a scope is about."""
    found = scope.get(_KEY)
    if found is None:
        found = scope[_KEY] = Headers(reversed(scope["headers"]))
    return found
