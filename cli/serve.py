"""`serve`: the service with the settings of the environment and `.env`, as `python -m app`."""

import os
import sys
from importlib.util import find_spec

from cli.shared import command
from engine.domain.errors import InvalidSetting

_EXAMPLES = """Examples:
  predictive serve
  SERVE=churn,housing API_PORT=8080 predictive serve
"""


@command(examples=_EXAMPLES)
def serve() -> None:
    """Serve predictions over HTTP; settings are environment variables or lines of .env."""
    if find_spec("app") is None:
        raise InvalidSetting("the service is not installed here; in containers `api` serves")
    os.execv(sys.executable, [sys.executable, "-m", "app"])  # noqa: S606 - takes this one's place
