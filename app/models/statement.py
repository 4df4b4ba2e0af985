"""Statements that are compiled once, and run on the driver's connection."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.sql import ClauseElement


class Statement:
    """The SQL of a statement with named parameters, in one dialect."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._parameters: list[tuple[str, Callable[[Any], Any] | None, Any]] = []
        for name in compiled.positiontup or ():
            bind = compiled.binds[name]
            processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
            self._parameters.append((name, processor, bind.value))

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values as the driver takes them, in the order of their places. What is not given keeps its own value."""
        values: list[Any] = []
        for name, processor, own in self._parameters:
            value = parameters.get(name, own)
            values.append(value if processor is None or value is None else processor(value))
        return values
