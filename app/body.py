"""A request's body: read within limits, validated once, no key twice."""

import asyncio
import json
from collections.abc import Collection
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from app.errors import LONGEST_NAME, invalid
from engine.domain.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidInput,
    MalformedBody,
    UnsupportedMediaType,
    Violation,
)

BODY_SECONDS = 20
INLINE_BYTES = 16_384
BY_SETTING = "MAX_BODY_BYTES sets that; send fewer rows at a time"
BY_ROUTE = "nothing that this route takes is longer"


def check_names(request: Request, known: Collection[str] = ()) -> None:
    """Raises InvalidInput for a parameter that is unknown, and for a parameter or X-Unit-ID that
    stands twice: neither is guessed."""
    names = [name for name, _ in request.query_params.multi_items()]
    wrong = [name for name in names if name not in known or names.count(name) > 1]
    if wrong:
        there = f"there are {' and '.join(sorted(known))}" if known else "there is none here"
        refuse("query", wrong[0][:LONGEST_NAME], f"is unknown or stands twice; {there}")
    if len(request.headers.getlist("X-Unit-ID")) > 1:
        refuse("header", "X-Unit-ID", "stands twice; send it once")


def refuse(place: str, name: str, rule: str) -> None:
    raise InvalidInput([Violation(f"/{place}/{name}", name, None, "unexpected", rule)], 1)


async def read(request: Request, limit: int, why: str = BY_ROUTE) -> bytes:
    """The body, never more than `limit` bytes of it in memory, which is so because of `why`.

    Raises UnsupportedMediaType when it is not declared as JSON, BodyTooLarge or BodyTooSlow.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("send the body as Content-Type: application/json")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLarge(f"the body may have {limit} bytes here: {why}")
    except TimeoutError as error:
        raise BodyTooSlow(f"the body did not arrive within {BODY_SECONDS} s") from error
    return body


async def parsed(body_type: TypeAdapter[Any], body: bytes) -> Any:
    """A small body at once, a large one in a thread, where its errors may take their time."""
    if len(body) <= INLINE_BYTES:
        return parse(body_type, body)
    return await asyncio.to_thread(parse, body_type, body)


def parse(body_type: TypeAdapter[Any], body: bytes) -> Any:
    """A validated body; raises MalformedBody, or InvalidInput naming every broken rule."""
    try:
        parsed = body_type.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error
    if body.count(b":") > count_keys(parsed):
        json.loads(body, object_pairs_hook=unique)
    return parsed


def count_keys(parsed: Any) -> int:
    """Keys in a validated body: a body with more colons repeats one, or has colons in its text."""
    if isinstance(parsed, dict):
        return len(parsed) + sum(map(count_keys, parsed.values()))
    if isinstance(parsed, list):
        return sum(map(count_keys, parsed))
    return 0


def unique(pairs: list[tuple[str, Any]]) -> None:
    """Two values for one key mean two readings of one request; neither is guessed."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise MalformedBody(f"the key {name[:100]!r} stands twice in one object; send it once")
