"""A request's body: read within limits."""

import asyncio
from collections.abc import Collection

from fastapi import Request
from starlette.requests import ClientDisconnect

from engine.domain.errors import (
    BodyTooLarge,
    BodyTooSlow,
    UnsupportedMediaType,
)

JSON = "application/json"
_BODY_SECONDS = 20
_TOO_SLOW = f"the body did not arrive within {_BODY_SECONDS} s"
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
    with _InTime():
        body, is_whole = b"", False
        while not is_whole:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            is_whole = not message.get("more_body", False)
            if len(body) > limit:
                raise BodyTooLarge(f"the body is longer than {limit} bytes: {why}")
        return body


class _InTime:
    """For `with`: what `asyncio.timeout` does, in a fifth of its time, because nearly every body is
    there at once.

    Raises BodyTooSlow.
    """

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._task = task
        self._timer = task.get_loop().call_later(_BODY_SECONDS, task.cancel, _TOO_SLOW)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if isinstance(error, asyncio.CancelledError) and error.args == (_TOO_SLOW,):
            self._task.uncancel()
            raise BodyTooSlow(_TOO_SLOW) from error


def is_json(media_type: str) -> bool:
    return media_type == JSON or media_type.endswith("+json")


def media_type_of(request: Request) -> str:
    """The Content-Type without its parameters."""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            return str(value.decode("latin-1").partition(";")[0].strip().lower())
    return ""
