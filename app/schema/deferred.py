"""What stands in for a Strawberry instance, and is made into one only when somebody reads it by attribute."""

from typing import TYPE_CHECKING, Any


class Deferred:
    """Its attributes are those of another object, which ``_made`` makes when one is asked for."""

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
