"""`python -m app`: serve with the settings of the environment and `.env`."""

import sys
from contextlib import suppress
from functools import partial
from socket import socket
from typing import Any

import click
import uvicorn

from app.logs import logging_config
from engine.assemble import card_of, open_features, open_records, open_stores
from engine.domain.errors import InvalidSetting
from engine.settings import Settings, load_settings
from problems import named

_GRACE_SECONDS = 6
_STARTUP_FAILURE = 3
"""The exit code of uvicorn when it cannot start."""
_THIS_MACHINE = {"127.0.0.1", "0.0.0.0", "localhost", "::", "::1"}  # noqa: S104 - names, not a choice


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: SERVE=churn,housing API_PORT=8080 python -m app",
)
def main() -> None:
    """Serve predictions over HTTP.

    Settings are environment variables or lines of .env; docs/reference.md lists them.
    """
    try:
        _start(load_settings())
    except InvalidSetting as error:
        _say(f"error: {error}")
        sys.exit(2)


def _start(settings: Settings) -> None:
    """A wrong setting is one line here, and not a worker's traceback."""
    open_records(settings).close()
    open_features(settings).close()
    for name in settings.serve:
        open_stores(settings, name)
        named(name, partial(card_of, settings))
    _serve(settings)


def _serve(settings: Settings) -> None:
    options: dict[str, Any] = {
        "host": settings.api_host,
        "port": settings.api_port,
        "log_config": logging_config(settings),
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
    }
    if settings.api_workers > 1 or settings.api_reload:
        workers, reload = settings.api_workers, settings.api_reload
        _say(f"Starting {f'{workers} workers for ' if workers > 1 else ''}{_way_to(settings)}")
        uvicorn.run("app.main:app", workers=workers, reload=reload, **options)
        return
    server = _TalkingServer(uvicorn.Config("app.main:app", **options), _way_to(settings))
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_STARTUP_FAILURE)


class _TalkingServer(uvicorn.Server):
    """Says where to go as soon as requests are answered, which no hook of uvicorn's tells."""

    def __init__(self, config: uvicorn.Config, way: str) -> None:
        super().__init__(config)
        self.way = way

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _say(f"Serving {self.way}")


def _way_to(settings: Settings) -> str:
    """What is served, and where a person on this machine finds it."""
    host = "localhost" if settings.api_host in _THIS_MACHINE else settings.api_host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"
    return f"{', '.join(settings.serve)} on {url} - try {url}/docs"


def _say(line: str) -> None:
    """A plain line among the JSON of the log, on standard error: it is for people."""
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
