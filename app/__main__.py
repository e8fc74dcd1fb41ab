"""`python -m app`: serve with the settings of the environment and `.env`."""

import argparse
import sys
from functools import partial

import uvicorn

from app.logs import logging_config
from engine.assemble import card_of, open_features, open_records, open_stores
from engine.domain.errors import InvalidSetting
from engine.settings import Settings, load_settings
from problems import named

GRACE_SECONDS = 6


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Serve predictions over HTTP. Settings are environment variables or .env; "
        "the README lists them.",
        epilog="example: SERVE=churn,housing API_PORT=8080 python -m app",
    )
    parser.parse_args()
    try:
        start(load_settings())
    except InvalidSetting as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def start(settings: Settings) -> None:
    """A wrong setting is one line here, and not a worker's traceback."""
    open_records(settings).close()
    open_features(settings).close()
    for name in settings.serve:
        open_stores(settings, name)
        named(name, partial(card_of, settings))
    uvicorn.run(
        "app.main:app",
        host=settings.api_host,
        port=settings.api_port,
        workers=settings.api_workers,
        reload=settings.api_reload,
        log_config=logging_config(settings),
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
