"""Names of `.env` and of the environment that nobody reads, each with what helps."""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches

from pydantic_settings import DotEnvSettingsSource

from engine.settings import Settings

WITHOUT_EFFECT = {
    "DEFAULT_MODEL": "the champion answers, whatever its file is called; POST /model/load and "
    "retrain.py --rollback make another version champion",
    "ENABLE_CACHING": "there is no cache, every answer is computed",
    "CHURN_MLOPS_CONFIG": "there is no such file, settings are environment variables and lines of "
    ".env",
}
"""Names that other documents have, and why they do nothing here."""
OF_COMPOSE = re.compile(r"COMPOSE_.*|DOCKER_.*|BUILD_NETWORK|INCOMING")
"""Names that docker compose reads from `.env`, those of docker-compose.yml included."""
LIKELY, NEARLY_SURE = 0.7, 0.92
"""How like a setting a name is that may be meant for one. The environment is full of names of other
programs, so there only a slip of a letter or two in a compound name counts."""


def unread_names() -> list[str]:
    """A sentence for each."""
    return [*of_file(), *of_environment()]


def of_file() -> Iterator[str]:
    for name in map(str.upper, DotEnvSettingsSource(Settings).env_vars):
        if name in WITHOUT_EFFECT:
            yield f".env: {without_effect(name)}"
        elif name not in known() and not OF_COMPOSE.fullmatch(name):
            yield f".env: {no_setting(name, nearest(name, LIKELY))}"


def of_environment() -> Iterator[str]:
    for name in map(str.upper, os.environ):
        if name in WITHOUT_EFFECT:
            yield f"environment: {without_effect(name)}"
        elif name not in known() and "_" in name and (meant := nearest(name, NEARLY_SURE)):
            yield f"environment: {no_setting(name, meant)}"


def known() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def nearest(name: str, likeness: float) -> str | None:
    return next(iter(get_close_matches(name, known(), n=1, cutoff=likeness)), None)


def without_effect(name: str) -> str:
    return f"{name} has no effect: {WITHOUT_EFFECT[name]}"


def no_setting(name: str, meant: str | None) -> str:
    return f"{name} is no setting" + (f"; did you mean {meant}?" if meant else "")
