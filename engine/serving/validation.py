"""A body validated once: every broken rule is named, no key is guessed, no input is echoed."""

import asyncio
import json
from itertools import chain
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.domain.errors import InvalidInput, MalformedBody, ServiceError, Violation

INLINE_BYTES = 16_384
"""A body of up to so many bytes is read on the event loop."""
_SHOWN_VIOLATIONS = 20
LONGEST_NAME = 100


async def validated(body_type: TypeAdapter[Any], body: bytes) -> Any:
    """What a body says; a large one is read in a thread, where its errors may take their time.

    Raises MalformedBody, or InvalidInput naming every broken rule.
    """
    if len(body) <= INLINE_BYTES:
        return validate(body_type, body)
    return await asyncio.to_thread(validate, body_type, body)


def validate(body_type: TypeAdapter[Any], body: bytes) -> Any:
    """The same at once."""
    try:
        parsed = body_type.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error
    refuse_repeated_keys(body, parsed)
    return parsed


def refuse_repeated_keys(body: bytes, parsed: Any) -> None:
    """Raises MalformedBody for a body of JSON in which an object has one key twice."""
    colons = body.count(b":")
    if colons > _count_keys_above(parsed) and colons > _count_keys(parsed):
        json.loads(body, object_pairs_hook=_unique)


def _count_keys_above(parsed: Any) -> int:
    """Those of a body and of the rows in its lists: quickly counted, and most often all."""
    if not isinstance(parsed, dict):
        return 0
    lists = (value for value in parsed.values() if isinstance(value, list))
    rows = chain.from_iterable(lists)
    return len(parsed) + sum(len(row) for row in rows if isinstance(row, dict))


def _count_keys(parsed: Any) -> int:
    """Keys in a validated body: a body with more colons repeats one, or has colons in its text."""
    if isinstance(parsed, dict):
        return len(parsed) + sum(map(_count_keys, parsed.values()))
    if isinstance(parsed, list):
        return sum(map(_count_keys, parsed))
    return 0


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """A key with two values is ambiguous, so the body is refused."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise MalformedBody(
                f"the key {name[:100]!r} appears more than once in one object; send it once"
            )


def invalid(error: ValidationError, first_row: int = 0) -> ServiceError:
    """What pydantic found wrong with a body, as an error of the domain; never echoes the input.

    `first_row` is the number of the first row, where the body is a part of a longer one.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return MalformedBody(f"{found[0]['msg']}. Send one JSON object")
    shown = [{**one, "loc": _moved(one["loc"], first_row)} for one in found[:_SHOWN_VIOLATIONS]]
    return InvalidInput([violation(one) for one in shown], len(found))


def _moved(place: tuple[int | str, ...], rows: int) -> tuple[int | str, ...]:
    """A list of rows is a field of its body."""
    if rows and len(place) > 1 and isinstance(place[1], int):
        return (place[0], place[1] + rows, *place[2:])
    return place


def violation(found: Any) -> Violation:
    """One of pydantic's findings; of an unknown field name only the start is repeated."""
    place = [str(part)[:LONGEST_NAME] for part in found["loc"]]
    rows = [part for part in found["loc"] if isinstance(part, int)]
    names = [part[:LONGEST_NAME] for part in found["loc"] if isinstance(part, str)]
    return Violation(
        pointer="".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in place),
        field=names[-1] if names else "",
        row=rows[0] if rows else None,
        rule=found["type"],
        message=found["msg"],
    )
