"""The engine: what a predictive service does, whatever it predicts."""

__version__ = "1.0.0"
"""Of the service; `/health`, `/openapi.json`, the package and `--version` say it."""
