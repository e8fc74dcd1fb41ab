"""A request's body: read within limits."""

import asyncio
from collections.abc import Collection

from fastapi import Request

from engine.domain.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidInput,
    UnsupportedMediaType,
    Violation,
)
from engine.serving.validation import LONGEST_NAME

_BODY_SECONDS = 20
BY_SETTING = "the setting MAX_BODY_BYTES is the limit; send fewer rows at a time"
_BY_ROUTE = "no valid body of this route is longer"


def check_names(request: Request, known: Collection[str] = ()) -> None:
    """Raises InvalidInput for a parameter that is unknown, and for a parameter or X-Unit-ID that
    appears more than once: no value is guessed."""
    names = [name for name, _ in request.query_params.multi_items()]
    wrong = [name for name in names if name not in known or names.count(name) > 1]
    if wrong:
        there = f"send {' and '.join(sorted(known))}" if known else "send none"
        _refuse("query", wrong[0][:LONGEST_NAME], f"is unknown or appears more than once; {there}")
    if len(request.headers.getlist("X-Unit-ID")) > 1:
        _refuse("header", "X-Unit-ID", "appears more than once; send it once")


def _refuse(place: str, name: str, rule: str) -> None:
    raise InvalidInput([Violation(f"/{place}/{name}", name, None, "unexpected", rule)], 1)


async def read_only(request: Request, known: Collection[str], limit: int) -> bytes:
    """The body of a request with no other parameters than these."""
    check_names(request, known)
    return await read(request, limit, BY_SETTING)


async def read(request: Request, limit: int, why: str = _BY_ROUTE) -> bytes:
    """The body, of which at most `limit` bytes are in memory; `why` explains the limit in the
    error.

    Raises UnsupportedMediaType when it is not declared as JSON, BodyTooLarge or BodyTooSlow.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("send the body as Content-Type: application/json")
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLarge(f"the body is longer than {limit} bytes: {why}")
    except TimeoutError as error:
        raise BodyTooSlow(f"the body did not arrive within {_BODY_SECONDS} s") from error
    return body
