"""A request's body: read within limits."""

import asyncio
from collections.abc import Collection

from fastapi import Request

from engine.domain.errors import (
    BodyTooLarge,
    BodyTooSlow,
    UnsupportedMediaType,
)

JSON = "application/json"
_BODY_SECONDS = 20
BY_SETTING = "the setting MAX_BODY_BYTES is the limit; send fewer rows at a time"
_BY_ROUTE = "no valid body of this route is longer"


async def read(
    request: Request, limit: int, why: str = _BY_ROUTE, *, or_types: Collection[str] = ()
) -> bytes:
    """The body, of which at most `limit` bytes are in memory; `why` explains the limit in the
    error.

    Raises UnsupportedMediaType when it is declared neither as JSON nor as one of `or_types`,
    BodyTooLarge or BodyTooSlow.
    """
    media_type = media_type_of(request)
    if not is_json(media_type) and media_type not in or_types:
        known = " or ".join((JSON, *or_types))
        raise UnsupportedMediaType(f"send the body as Content-Type: {known}")
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


def is_json(media_type: str) -> bool:
    return media_type == JSON or media_type.endswith("+json")


def media_type_of(request: Request) -> str:
    """The Content-Type without its parameters."""
    found = [value for name, value in request.scope["headers"] if name == b"content-type"]
    return found[0].decode("latin-1").partition(";")[0].strip().lower() if found else ""
