"""The INSERTs and UPDATEs of every turn, compiled once.

`Connection.execute` looks up the compiled form and computes a statement's values again each time,
which takes longer than SQLite needs to run it. SQLAlchemy still runs these as texts, so its errors
and events stay.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update

Values = Mapping[str, Any]


class Write:
    """An INSERT or UPDATE without RETURNING, whose defaults are plain values."""

    def __init__(self, statement: Insert | Update) -> None:
        self.statement = statement
        self._forms: dict[tuple[str, ...], _Form] = {}

    def run(self, connection: Connection, values: Values) -> None:
        form = self._form_for(connection.dialect, values)
        connection.exec_driver_sql(form.text, form.of(values))

    def run_many(self, connection: Connection, rows: Sequence[Values]) -> None:
        """All rows have the same names."""
        form = self._form_for(connection.dialect, rows[0])
        connection.exec_driver_sql(form.text, [form.of(row) for row in rows])

    def _form_for(self, dialect: Dialect, values: Values) -> "_Form":
        key = (dialect.name, *values)
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = _Form(self.statement, dialect, values)
        return found


class _Form:
    """A statement as a driver takes it: its text, and how its values are converted."""

    def __init__(self, statement: Insert | Update, dialect: Dialect, names: Iterable[str]) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=list(names))
        self.text: str = compiled.string
        constants = {**compiled.params}
        constants |= {column.key: column.default.arg for column in compiled.insert_prefetch}
        order = compiled.positiontup or list(constants)
        types = {name: bind.type for bind, name in compiled.bind_names.items()}
        self._is_positional: bool = compiled.positional
        self._parts = [
            (name, constants[name], types[name].dialect_impl(dialect).bind_processor(dialect))
            for name in order
        ]

    def of(self, values: Values) -> tuple[Any, ...] | dict[str, Any]:
        if self._is_positional:
            return tuple(_value(part, values) for part in self._parts)
        return {part[0]: _value(part, values) for part in self._parts}


def _value(part: tuple[str, Any, Callable[[Any], Any] | None], values: Values) -> Any:
    name, constant, processor = part
    value = values.get(name, constant)
    return value if processor is None else processor(value)
