"""Statements that SQLAlchemy compiles once, to be run on the driver's own connection."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.sql import ClauseElement


class Statement:
    """A statement compiled for one dialect. ``values`` turns named parameters into the driver's positional ones."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        values: list[str] = []
        names: dict[str, Any] = {}
        for place, name in enumerate(compiled.positiontup or ()):
            bind = compiled.binds[name]
            processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
            names |= {f"own{place}": bind.value, f"processor{place}": processor}
            value = f"p.get({name!r}, own{place})"
            values.append(value if processor is None else f"None if (v := {value}) is None else processor{place}(v)")
        listed = ", ".join(f"({value})" for value in values)
        self.values: Callable[[Mapping[str, Any]], list[Any]] = eval(f"lambda p: [{listed}]", names)  # noqa: S307  It is made of the statement's own names.
        """Returns positional values for the driver; a missing parameter has the value it was built with."""
