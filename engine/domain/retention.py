"""Old records are removed in small steps, so that recording an answer never waits long."""

from collections.abc import Callable

from engine.domain.ports import Records

STEP_ROWS = 500
"""Rows that one transaction removes, in about 10 ms."""
REST = 4
"""A pause takes this many times as long as the step before it. SQLite has no queue for its lock: a
writer polls it, and must find it free most of the time."""
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
