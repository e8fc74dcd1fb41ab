"""The engine: what a predictive service does, whatever it predicts."""

__version__ = "1.0.0"
"""The version of the service, in `/health`, `/openapi.json`, the package and `--version`."""
