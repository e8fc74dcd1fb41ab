"""What is too old is forgotten, slowly: whoever records an answer always gets a turn."""

from collections.abc import Callable

from engine.domain.ports import Records

STEP_ROWS = 500
"""One transaction removes so many, in some 10 ms."""
REST = 4
"""A pause takes so many times as long as the step before it: SQLite lets nobody queue for its lock,
so who waits must find it free at most of the moments it looks."""
LEAST_REST_SECONDS = 0.02


def forget(
    records: Records,
    before: str,
    *,
    pause: Callable[[float], bool | None],
    clock: Callable[[], float],
) -> int:
    """Remove everything older than `before` (UTC, ISO 8601), or until `pause` says so; how many
    rows. `pause` waits so many seconds, `clock` tells seconds: `time.sleep`, `time.monotonic`."""
    total = 0
    while True:
        start = clock()
        gone = records.forget(before, STEP_ROWS)
        total += gone
        if not gone or pause(max(REST * (clock() - start), LEAST_REST_SECONDS)):
            return total
