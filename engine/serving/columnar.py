"""Tables in place of rows: read from a body, checked column by column, answered with columns.

What the columns do not show to be right is validated as rows, so that one set of rules decides
and words every error.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from engine.domain.answer import Answer
from engine.domain.errors import InvalidInput, ServiceError, Violation
from engine.domain.prediction import Entities
from engine.domain.problem import Columns, Contract, TableForm
from engine.domain.schema import Schema, body_type
from engine.domain.table import ReplyTable, Table, encoded
from engine.serving.reading import Asked, Reader, read_rows
from engine.serving.validation import invalid, refuse_repeated_keys, validate

_Write = Callable[[ReplyTable], bytes]
_AS_COLUMNS = re.compile(rb'\s*\{\s*"columns"\s*:')
_COLUMNS: TypeAdapter[Any] = TypeAdapter(body_type("AnyColumns", {"columns": dict[str, list[Any]]}))
_CELLS_AT_ONCE = 100_000
"""So many cells are validated as rows before what is wrong in them is told."""


@dataclass(frozen=True)
class TableReader:
    """Reads bodies of one route, tables or rows; of a table at most `most_rows` are taken."""

    contract: Contract
    form: TableForm
    schema: Schema
    most_rows: int
    most_in_batch: int

    def of_json(self, write: _Write | None) -> Reader:
        """Rows or columns; without `write` the reply is JSON of the same shape as the body."""
        return partial(self._read_json, write)

    def of_tables(self, decode: Callable[[bytes], Table], write: _Write | None) -> Reader:
        """Bodies that `decode` understands; without `write` the reply is JSON."""
        return lambda body: self._ask(decode(body), write or _write_json)

    def _read_json(self, write: _Write | None, body: bytes) -> Asked:
        if _AS_COLUMNS.match(body):
            return self._ask(_read_columns(body), write or _write_json)
        if write is None:
            return read_rows(self.contract, self._batch_type, body)
        return self._ask_rows(validate(self._batch_type, body), write)

    def _ask(self, table: Table, write: _Write) -> Asked:
        """Column by column if they show themselves to be right, else row by row."""
        if table.rows > self.most_rows:
            raise self._too_long(table.rows)
        others = self._others(table)
        rows = None
        if table.rows and others is not None:
            rows = encoded(self.schema, table, is_tolerant=self.form.is_tolerant)
        if rows is None or others is None:
            return self._ask_rows(self._as_rows(table), write)
        keys = others[self.form.key] if self.form.key else ()
        notes = [self.form.note(others)] * table.rows
        told = partial(self._told, others=others, options={}, notes=notes)
        return Asked(Entities(rows, keys), lambda answer: write(told(answer)))

    def _ask_rows(self, body: Mapping[str, Any], write: _Write) -> Asked:
        """What a valid body asks, answered with columns."""
        rows = body[self.form.field]
        texts = [self.form.texts(row) for row in rows]
        others = {name: [row[name] for row in texts] for name in texts[0]}
        options = {name: value for name, value in body.items() if name != self.form.field}
        notes = [self.form.note(row) for row in rows]
        told = partial(self._told, others=others, options=options, notes=notes)
        return Asked(self.contract.entities(body), lambda answer: write(told(answer)))

    def _others(self, table: Table) -> Any | None:
        """The columns that are no features; None where they need a closer look."""
        found = {n: cells for n, cells in table.columns.items() if n not in self._features}
        if any(not isinstance(cells, list) for cells in found.values()):
            found = {
                n: cells if isinstance(cells, list) else cells.tolist()
                for n, cells in found.items()
            }
        try:
            return self._others_type.validate_python(found)
        except ValidationError:
            return None

    def _as_rows(self, table: Table) -> dict[str, Any]:
        """Raises InvalidInput, as for a body that has the rows of the table."""
        step = max(1, _CELLS_AT_ONCE // max(1, len(table.columns)))
        rows: list[Any] = []
        for start in range(0, max(table.rows, 1), step):
            part = [self.form.row(row) for row in table.some(start, start + step)]
            try:
                said = to_json({self.form.field: part}, inf_nan_mode="constants")
                body = self._table_type.validate_json(said)
            except ValidationError as error:
                raise invalid(error, first_row=start) from error
            rows += body[self.form.field]
        return {self.form.field: rows}

    def _too_long(self, rows: int) -> ServiceError:
        """In the words of pydantic, which would have to be shown all rows."""
        rule = f"List should have at most {self.most_rows} items after validation, not {rows}"
        field = self.form.field
        return InvalidInput([Violation(f"/{field}", field, None, "too_long", rule)], 1)

    def _told(
        self,
        answer: Answer,
        *,
        others: Columns,
        options: Mapping[str, Any],
        notes: Sequence[list[str]],
    ) -> ReplyTable:
        columns = {"prediction_id": answer.ids(), **self.form.answer(answer, others, options)}
        warnings = answer.prediction.warnings
        if any(notes):
            warnings = [[*said, *note] for said, note in zip(warnings, notes, strict=True)]
        versions = answer.versions
        is_one = len(set(versions)) == 1
        level = "level" if "confidence" in columns else "confidence"
        facts = {level: answer.confidence, "predicted_at": answer.predicted_at}
        if is_one:
            facts = {"model_version": versions[0], **facts}
        else:
            columns["model_version"] = versions
        return ReplyTable(columns, warnings, facts)

    @cached_property
    def _features(self) -> frozenset[str]:
        return frozenset(self.schema.names)

    @cached_property
    def _others_type(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.form.others)

    @cached_property
    def _table_type(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.contract.request(self.most_rows))

    @cached_property
    def _batch_type(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.contract.request(self.most_in_batch))


def _write_json(reply: ReplyTable) -> bytes:
    """Columns; of the warnings only the rows that have some."""
    found = {str(row): warnings for row, warnings in enumerate(reply.warnings) if warnings}
    predictions = {**reply.columns, "warnings": found}
    return orjson.dumps({"predictions": predictions, "count": len(reply.warnings), **reply.facts})


def _read_columns(body: bytes) -> Table:
    """Raises MalformedBody or InvalidInput."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:  # NaN, say, of which pydantic knows what to make
        said = validate(_COLUMNS, body)
    columns = said["columns"]
    if len(said) > 1 or not isinstance(columns, dict) or not _are_lists(columns.values()):
        columns = validate(_COLUMNS, body)["columns"]
    elif body.count(b":") > 1 + len(columns):
        refuse_repeated_keys(body, said)
    return Table.of(columns)


def _are_lists(cells: Iterable[Any]) -> bool:
    return all(type(one) is list for one in cells)
