"""What OpenAPI says of routes that take tables and answer with them."""

from typing import Annotated, Any, NotRequired, get_args, get_origin

from pydantic import Field
from typing_extensions import TypedDict

from app.body import JSON
from app.openapi import reference
from engine.domain.columns import Column
from engine.domain.problem import Problem, TableForm
from engine.domain.schema import body_type
from engine.protocols import arrow_stream, csv_table

_COLUMNS = f"{JSON}; form=columns"
"""JSON of the other shape, by a name of its own: a content type has one schema."""


class PredictedColumns(TypedDict):
    """One item a row in each column; besides these the columns that the rows of a reply have, the
    bounds as `lower` and `upper`, and `model_version` where several versions answered."""

    prediction_id: Annotated[list[str], Field(description="Names each prediction. Unit: none.")]
    warnings: Annotated[
        dict[str, list[str]],
        Field(description="Of the rows that have some, by their number from 0. Unit: none."),
    ]


class TablePredictions(TypedDict):
    """The reply to a table."""

    predictions: PredictedColumns
    count: Annotated[int, Field(description="Predictions made. Unit: rows.")]
    model_version: NotRequired[
        Annotated[str, Field(description="Version that answered all rows. Unit: none.")]
    ]
    confidence: NotRequired[
        Annotated[
            float,
            Field(
                description="How often an interval holds; `level` if a column is called so. "
                "Unit: share."
            ),
        ]
    ]
    predicted_at: Annotated[str, Field(description="Unit: UTC, ISO 8601.")]


def table_type(problem: Problem, form: TableForm, most_rows: int) -> Any:
    """The body of a table of this problem, as JSON columns."""
    rows = Field(min_length=1, max_length=most_rows)
    schema = problem.schema
    fields = schema.tolerant_fields if form.is_tolerant else schema.fields
    features = {c.name: _column(fields[c.name], c, rows) for c in schema.columns}
    others = {
        name: _list(of, Annotated[of_list, rows, Field(description="No feature. Unit: none.")])
        for name, of in form.others.__annotations__.items()
        if (of_list := _inner(of)) is not None
    }
    columns = body_type(f"{problem.name}_Columns", {**others, **features})
    return body_type(f"{problem.name}_Table", {"columns": columns})


def _inner(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is NotRequired else annotation


def _list(annotation: Any, made: Any) -> Any:
    """`made`, which may be missing where the annotation may."""
    return NotRequired[made] if get_origin(annotation) is NotRequired else made


def _column(cell: Any, column: Column, rows: Any) -> Any:
    about = Field(description=column.about)
    return _list(cell, Annotated[list[_inner(cell)], rows, about])  # type: ignore[misc]


def table_bodies(problem: Problem, form: TableForm) -> dict[str, Any]:
    """The content types of requests, besides rows of JSON."""
    return {
        _COLUMNS: {
            "schema": reference(f"{problem.name}_Table"),
            "examples": {"columns": {"summary": "columns", "value": _example(problem, form)}},
        },
        **_TEXT_AND_BYTES,
    }


def _example(problem: Problem, form: TableForm) -> dict[str, Any]:
    others = {} if form.key is None else {form.key: ["12345"]}
    features = {name: [cell] for name, cell in problem.schema.example.items()}
    return {"columns": {**others, **features}}


def table_replies() -> dict[str, Any]:
    """The content types of replies, besides rows of JSON."""
    return {_COLUMNS: {"schema": reference(TablePredictions.__name__)}, **_TEXT_AND_BYTES}


_TEXT_AND_BYTES = {
    csv_table.MEDIA_TYPE: {
        "schema": {"type": "string", "description": "A header line, then a line a row."}
    },
    arrow_stream.MEDIA_TYPE: {
        "schema": {"type": "string", "format": "binary", "description": "An Arrow IPC stream."}
    },
}
