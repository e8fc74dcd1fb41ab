"""A problem that somebody's own table declared, without a line of Python.

What our files say in Python such a problem says in plain JSON values: `as_json` makes them, the
cards of its models carry them, and `problem_of` makes the problem from a card again.

Its requests may look as the table does: numbers and booleans as text, gaps, columns that are no
features. What the table teaches about a column is what to expect of it, and no rule: only what no
table can hold is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError

from engine.domain.answer import Answer
from engine.domain.artifact import ModelCard
from engine.domain.columns import Column
from engine.domain.contract import declared_terms
from engine.domain.errors import UntrustedArtifact
from engine.domain.prediction import Entities
from engine.domain.problem import Contract, Problem, TableForm
from engine.domain.schema import Schema, Target, body_type
from problems.declared_replies import REPLIES, typed
from problems.replies import (
    ModelVersion,
    PredictionId,
    Time,
    Warnings,
)


@dataclass(frozen=True)
class Declaration:
    """All there is to such a problem but its name; slices are names of numeric columns.

    `ignored` are columns of the table that are no features: a request may have them all the same.
    `order` are those that say when a row happened.
    """

    title: str
    columns: tuple[Column, ...]
    target: Target
    slices: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


PLAIN = TypeAdapter(Declaration)


def as_json(declaration: Declaration) -> dict[str, Any]:
    """A declaration as plain JSON values."""
    plain: dict[str, Any] = PLAIN.dump_python(declaration, mode="json")
    return plain


def declaration_of(card: ModelCard) -> Declaration:
    """What `as_json` was given; raises UntrustedArtifact for a card that declares no problem."""
    if card.declared is None:
        raise UntrustedArtifact(f"{card.problem} {card.version} carries no declared problem")
    try:
        return PLAIN.validate_python(card.declared)
    except ValidationError as error:
        raise UntrustedArtifact(
            f"what {card.problem} {card.version} declares is not understood here: "
            f"{error.error_count()} values are missing or of another type"
        ) from error


def problem_of(card: ModelCard) -> Problem:
    """The problem a model's card declares; raises UntrustedArtifact where it declares none."""
    return problem(card.problem, declaration_of(card))


def problem(name: str, declaration: Declaration) -> Problem:
    """Two routes, for one row and for many; the names of their types are the problem's alone."""
    schema = Schema(tuple(map(_as_requests_have_it, declaration.columns)))
    row, one = _row_type(name, schema, declaration), _reply_type(name, declaration.target)
    return Problem(
        name=name,
        title=declaration.title,
        schema=schema,
        target=declaration.target,
        contracts=(
            _contract_of_one(declaration.target, schema, row, one=one),
            replace(
                _contract_of_many(declaration.target, schema, row, one=one, name=name),
                table=_table_form(name, schema, declaration),
            ),
        ),
        simulate=None,
        slices=declaration.slices,
        layouts={},
        order=declaration.order,
        declared=as_json(declaration),
    )


def _as_requests_have_it(column: Column) -> Column:
    """Without the rules that a table does not know: another one may go further, or have gaps."""
    column = replace(column, may_be_missing=True, warns_of_gap=not column.may_be_missing)
    return column.unbounded()


def _row_type(name: str, schema: Schema, declaration: Declaration) -> Any:
    about = Field(description="No feature: ignored, with a warning. Unit: none.")
    others = dict.fromkeys(_ignored_of(declaration), NotRequired[Annotated[Any, about]])
    return body_type(f"{name}_Row", {**others, **schema.tolerant_fields})


def _ignored_of(declaration: Declaration) -> tuple[str, ...]:
    return tuple(dict.fromkeys((declaration.target.name, *declaration.ignored)))


def _features_of(schema: Schema, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in schema.names if name in row}


def _notes_on(schema: Schema, row: Iterable[str]) -> list[str]:
    others = [name for name in row if name not in schema.names]
    return [f"ignored, because no feature: {', '.join(others)}"] if others else []


def _contract_of_one(target: Target, schema: Schema, row: Any, *, one: Any) -> Contract:
    return Contract(
        path="/predict",
        summary=f"Predict {target.name} for one row, with {REPLIES[target.kind].promise}",
        request=lambda limit: row,
        reply=one,
        entities=lambda body: Entities([_features_of(schema, body)]),
        answer=lambda answer, body: _replies(target, answer, [_notes_on(schema, body)])[0],
        examples={"a row of the table": schema.example},
    )


def _contract_of_many(target: Target, schema: Schema, row: Any, *, one: Any, name: str) -> Contract:
    count = Field(description="Predictions made. Unit: rows.", examples=[1])
    fields = {"predictions": list[one], "count": Annotated[int, count]}
    return Contract(
        path="/predict/batch",
        summary=f"Predict {target.name} for many rows; all are answered or none",
        request=lambda limit: _rows_type(name, row, limit),
        reply=typed(f"{name}_Predictions", "One prediction for each row, in their order.", fields),
        entities=lambda body: Entities([_features_of(schema, row) for row in body["rows"]]),
        answer=lambda answer, body: {
            "predictions": _replies(
                target, answer, [_notes_on(schema, row) for row in body["rows"]]
            ),
            "count": len(answer),
        },
        examples={"a row of the table": {"rows": [schema.example]}},
    )


def _table_form(name: str, schema: Schema, declaration: Declaration) -> TableForm:
    target = declaration.target
    others = dict.fromkeys(_ignored_of(declaration), NotRequired[list[Any]])
    columns = REPLIES[target.kind].columns
    return TableForm(
        "rows",
        body_type(f"{name}_Others", others),
        lambda answer, *_: columns(target, answer),
        note=lambda names: _notes_on(schema, names),
        is_tolerant=True,
    )


def _rows_type(name: str, row: Any, limit: int) -> Any:
    rows = Field(min_length=1, max_length=limit, description="Unit: one item a row.")
    return body_type(f"{name}_Rows", {"rows": Annotated[list[row], rows]})


def _reply_type(name: str, target: Target) -> Any:
    """What is said of one row: a quantity with its interval, or an event with its probability."""
    fields = {
        "prediction_id": PredictionId,
        **REPLIES[target.kind].fields(name, target),
        "warnings": Warnings,
        "model_version": ModelVersion,
        "predicted_at": Time,
    }
    return typed(f"{name}_Prediction", f"What is predicted of {target.name}.", fields)


def _replies(target: Target, answer: Answer, notes: Sequence[list[str]]) -> list[dict[str, Any]]:
    """One reply a row, with what is to be said of the row besides."""
    say = REPLIES[target.kind].said
    return [
        {
            "prediction_id": about["prediction_id"],
            **said,
            "warnings": [*about["warnings"], *note],
            "model_version": about["model_version"],
            "predicted_at": answer.predicted_at,
        }
        for about, said, note in zip(answer.told(), say(target, answer), notes, strict=True)
    ]


def continued(new: Problem, old: Problem) -> Problem | None:
    """`new` with its categories in the order of `old`, so that a running service can go on with it;
    None where a caller of one cannot go on with the other: bounds may move, nothing else."""
    before = {column.name: column.categories for column in old.schema.columns}
    declaration = PLAIN.validate_python(new.declared)
    columns = tuple(c.in_order(before.get(c.name, ())) for c in declaration.columns)
    same = problem(new.name, replace(declaration, columns=columns))
    return same if declared_terms(same) == declared_terms(old) else None
