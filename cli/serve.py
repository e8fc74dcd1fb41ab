"""`serve`: the service with the settings of the environment and `.env`, as `python -m app`."""

import os
import sys

from cli.shared import command

_EXAMPLES = """Examples:
  predictive serve
  SERVE=churn,housing API_PORT=8080 predictive serve
"""


@command(examples=_EXAMPLES)
def serve() -> None:
    """Serve predictions over HTTP; settings are environment variables or lines of .env."""
    os.execv(sys.executable, [sys.executable, "-m", "app"])  # noqa: S606 - takes this one's place
