"""Logs as JSON lines: an event name and key-value pairs, on standard output or in LOG_FILE."""

import logging.config
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from engine.domain.errors import InvalidSetting
from engine.settings import Settings

_QUIET_SECONDS = 10
"""Between two log lines about one thing that happens again and again."""
_SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def logging_config(settings: Settings) -> dict[str, Any]:
    """For `logging.config.dictConfig`: our events and uvicorn's lines in one format.

    Raises InvalidSetting when LOG_FILE cannot be written.
    """
    if settings.log_file is not None:
        _check_writable(settings.log_file)
    stream = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}
    file = {"class": "logging.FileHandler", "filename": str(settings.log_file), "delay": True}
    handler = stream if settings.log_file is None else file
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": _SHARED,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"main": {**handler, "formatter": "json"}},
        "root": {"handlers": ["main"], "level": "WARNING"},
        "loggers": {
            "predictive": {"level": settings.log_level},
            "uvicorn": {"level": settings.log_level},
            "uvicorn.access": {"level": "WARNING"},
        },
    }


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise InvalidSetting(f"LOG_FILE: {path} cannot be written: {error.strerror}") from error


def open_log(settings: Settings) -> FilteringBoundLogger:
    """Configure logging and return the service's logger."""
    kept = list(logging.getLogger("gunicorn.access").handlers)
    logging.config.dictConfig(logging_config(settings))
    if kept:
        _give_back(kept)
    log: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger("predictive"),
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return log


def _give_back(handlers: list[logging.Handler]) -> None:
    """gunicorn's --access-logfile: uvicorn's worker writes there a line for each request, and
    dictConfig takes its handlers away."""
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = handlers, False
    access.setLevel(logging.INFO)


class Seldom:
    """Whether to say again what happens many times a second; counters miss none of it."""

    def __init__(self) -> None:
        self._said = float("-inf")

    def is_due(self) -> bool:
        """At most once in _QUIET_SECONDS."""
        if monotonic() < self._said + _QUIET_SECONDS:
            return False
        self._said = monotonic()
        return True
