"""A lazy proxy for Strawberry instances: the instance is built only when one of its attributes is read."""

from typing import TYPE_CHECKING, Any


class Deferred:
    """Delegates attributes to the object that ``_made`` builds on first access, then caches them on itself."""

    if TYPE_CHECKING:

        def _made(self) -> object: ...

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  It may be any of them.
        if name.startswith("_"):
            raise AttributeError(name)
        values = vars(self._made())
        self.__dict__.update(values)
        try:
            return values[name]
        except KeyError:
            raise AttributeError(name) from None
