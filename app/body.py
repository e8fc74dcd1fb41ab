"""A request's body: read within limits."""

import asyncio

from fastapi import Request

from engine.domain.errors import (
    BodyTooLarge,
    BodyTooSlow,
    UnsupportedMediaType,
)

_BODY_SECONDS = 20
BY_SETTING = "the setting MAX_BODY_BYTES is the limit; send fewer rows at a time"
_BY_ROUTE = "no valid body of this route is longer"


async def read(request: Request, limit: int, why: str = _BY_ROUTE) -> bytes:
    """The body, of which at most `limit` bytes are in memory; `why` explains the limit in the
    error.

    Raises UnsupportedMediaType when it is not declared as JSON, BodyTooLarge or BodyTooSlow.
    """
    media_type = _media_type(request)
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


def _media_type(request: Request) -> str:
    found = [value for name, value in request.scope["headers"] if name == b"content-type"]
    return found[0].decode("latin-1").partition(";")[0].strip().lower() if found else ""
