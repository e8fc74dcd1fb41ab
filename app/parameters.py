"""What a prediction route reads besides its body: two parameters of the query and one header.

They are validated here and not by FastAPI, which takes 190 microseconds to resolve three declared
parameters of a request that has none of them.
"""

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.domain.conformal import DEFAULT_CONFIDENCE, HIGHEST_CONFIDENCE, LOWEST_CONFIDENCE
from engine.domain.errors import InvalidInput, Violation
from engine.serving.validation import LONGEST_NAME, violation

_UNIT_HEADER, _UNIT_KEY = "X-Unit-ID", b"x-unit-id"


class Parameters(BaseModel):
    """Which version is asked, for whom, and how often its interval should hold the truth."""

    model_config = ConfigDict(frozen=True)

    model_version: str | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="A registered version to ask instead of the champion. Unit: none.",
        examples=["v1.0.0"],
    )
    confidence: float = Field(
        DEFAULT_CONFIDENCE,
        ge=LOWEST_CONFIDENCE,
        le=HIGHEST_CONFIDENCE,
        description="How often the interval should hold the truth. Unit: share.",
    )
    unit: str | None = Field(
        None,
        alias=_UNIT_HEADER,
        title="X-Unit-Id",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="Who or what is asked for: one unit keeps one variant. Default: the key of "
        "each row, where it has one, else its features. Unit: none.",
    )


_NONE_GIVEN = Parameters()
_QUERY = ("model_version", "confidence")


def read_parameters(request: Request) -> Parameters:
    """Raises InvalidInput for a value that breaks a rule; `check_names` refuses unknown names."""
    units = _units_of(request)
    if not units and not request.scope["query_string"]:
        return _NONE_GIVEN
    given = {name: value for name, value in request.query_params.items() if name in _QUERY}
    if units:
        given[_UNIT_HEADER] = units[0]
    return _validated(given) if given else _NONE_GIVEN


def _validated(given: Mapping[str, str]) -> Parameters:
    try:
        return Parameters.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        broken = [violation({**one, "loc": _place(str(one["loc"][0]))}) for one in found]
        raise InvalidInput(broken, len(found)) from error


def _place(name: str) -> tuple[str, str]:
    return ("header" if name == _UNIT_HEADER else "query"), name


def check_prediction_names(request: Request) -> None:
    """Raises InvalidInput for other parameters than those of a prediction."""
    check_names(request, _QUERY)


def check_names(request: Request, known: Collection[str] = ()) -> None:
    """Raises InvalidInput for a parameter that is unknown, and for a parameter or X-Unit-ID that
    appears more than once: no value is guessed."""
    if request.scope["query_string"]:
        names = [name for name, _ in request.query_params.multi_items()]
        wrong = [name for name in names if name not in known or names.count(name) > 1]
        if wrong:
            rule = "is unknown or appears more than once"
            there = f"send {' and '.join(sorted(known))}" if known else "send none"
            _refuse("query", wrong[0][:LONGEST_NAME], f"{rule}; {there}")
    if len(_units_of(request)) > 1:
        _refuse("header", _UNIT_HEADER, "appears more than once; send it once")


def _refuse(place: str, name: str, rule: str) -> None:
    raise InvalidInput([Violation(f"/{place}/{name}", name, None, "unexpected", rule)], 1)


def _units_of(request: Request) -> list[str]:
    return [v.decode("latin-1") for name, v in request.scope["headers"] if name == _UNIT_KEY]


def described_parameters() -> list[dict[str, Any]]:
    """As OpenAPI describes them."""
    properties = Parameters.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": _place(name)[0],
            "required": False,
            "schema": {key: value for key, value in schema.items() if value is not None},
            "description": schema["description"],
        }
        for name, schema in properties.items()
    ]
