"""Everything that can be set from outside, read once from the environment and `.env`."""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
    SettingsError,
)

from engine.domain.errors import InvalidSetting
from engine.domain.prediction import DEFAULT_THRESHOLD

_COMMITTED_MODEL_KEY = "R5Wg5dW8ulrQhPs/CKaoMrT0ZmCgkR68+6K7igHx9S4="
"""Public half of the key that signed the committed `housing_model.joblib`."""

_DATA_DIR = Path("data")
_KEYS_FOLDER = "trusted_keys"
"""In DATA_DIR: public keys whose models may be served, one a `.pub` file."""

PROBLEM_NAME = r"^[a-z][a-z0-9_]{0,39}$"
_MODEL_FILE = "{problem}_model.joblib"
_ProblemName = Annotated[str, Field(pattern=PROBLEM_NAME)]
"""A problem's name is used in URLs, file names and Python types."""

_WITHOUT_EFFECT = {
    "DEFAULT_MODEL": "the champion answers, whatever its file is called; POST /model/load and "
    "retrain.py --rollback make another version champion",
    "ENABLE_CACHING": "there is no cache, every answer is computed",
    "CHURN_MLOPS_CONFIG": "there is no such file, settings are environment variables and lines of "
    ".env",
}
"""Names that other documents have, and why they do nothing here."""
_OF_COMPOSE = re.compile(r"COMPOSE_.*|DOCKER_.*|BUILD_NETWORK|INCOMING")
"""Names that docker compose reads from `.env`, those of docker-compose.yml included."""
_LIKELY, _NEARLY_SURE = 0.7, 0.92
"""How similar to a setting a name must be to be taken for a misspelt one. The environment has names
of many other programs, so there only one or two wrong letters in a compound name count."""


class Settings(BaseSettings):
    """One frozen value, handed down; docs/reference.md lists every field."""

    model_config = SettingsConfigDict(
        frozen=True, env_file=".env", extra="ignore", protected_namespaces=()
    )

    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65_535)
    api_workers: int = Field(1, ge=1, le=64)
    api_reload: bool = False
    serve: Annotated[tuple[_ProblemName, ...], NoDecode] = ("housing",)
    model_path: Path | None = None
    model_dir: Path | None = None
    data_dir: Path = _DATA_DIR
    registry_url: str | None = None
    records_url: str | None = None
    records: Literal["durable", "buffered", "off"] = "durable"
    records_queue: int = Field(100_000, ge=1)
    records_keep_days: int = Field(365, ge=1)
    signing_key: Path | None = None
    trusted_keys: list[str] = [_COMMITTED_MODEL_KEY]
    script_runner: str = "python"
    admin_api_key: SecretStr | None = Field(None, min_length=16)
    max_batch_size: int = Field(1_000, ge=1, le=100_000)
    max_columnar_rows: int = Field(10_000, ge=1, le=1_000_000)
    default_threshold: float = Field(DEFAULT_THRESHOLD, ge=0, le=1)
    max_body_bytes: int = Field(1_048_576, ge=1_024)
    cors_origins: list[str] = []
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_requests: bool = False
    log_file: Path | None = None
    model_poll_seconds: float = Field(0.5, gt=0, le=60)
    features_url: str | None = None
    features_budget_ms: int = Field(50, ge=1, le=10_000)

    @field_validator("serve", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """`housing,churn`, as an environment variable has it."""
        return (
            tuple(filter(None, value.replace(" ", "").split(",")))
            if isinstance(value, str)
            else value
        )

    @field_validator("serve")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("name at least one problem, as in housing,churn")
        if len(set(names)) < len(names):
            raise ValueError("a problem appears more than once; name each problem once")
        return names

    @field_validator("model_dir")
    @classmethod
    def _one_place(cls, folder: Path | None, before: ValidationInfo) -> Path | None:
        if folder is not None and before.data.get("model_path") is not None:
            raise ValueError(
                "MODEL_PATH is set, too, and also says where the model is; set one of the two"
            )
        return folder

    def model_of(self, problem: str) -> Path:
        """Where a problem's champion is kept: at MODEL_PATH or in MODEL_DIR, else in DATA_DIR; that
        of the default DATA_DIR lies in the working directory.

        Raises InvalidSetting where MODEL_PATH names the one file of another problem.
        """
        if self.model_dir is not None:
            return self.model_dir / _MODEL_FILE.format(problem=problem)
        if self.model_path is None:
            folder = Path() if self._is_default_data_dir else self.data_dir
            return folder / _MODEL_FILE.format(problem=problem)
        path = str(self.model_path)
        if "{problem}" not in path and problem != self.serve[0]:
            raise InvalidSetting(
                f"MODEL_PATH: {path} is the model of {self.serve[0]}; to serve or train {problem}, "
                "too, write {problem} into the path, as in models/{problem}.joblib"
            )
        return Path(path.replace("{problem}", problem))

    def bundled_model_of(self, problem: str) -> Path | None:
        """The model in the working directory (the checkout, or the image), which answers while
        another DATA_DIR has none of its own; None where there is no such choice."""
        is_chosen = self.model_path is not None or self.model_dir is not None
        if is_chosen or self._is_default_data_dir:
            return None
        return Path(_MODEL_FILE.format(problem=problem))

    @property
    def key_folders(self) -> tuple[Path, ...]:
        """Where trusted public keys lie: in DATA_DIR, where own ones are published, and beside the
        model in the working directory, where that may answer."""
        own, bundled = self.data_dir / _KEYS_FOLDER, _DATA_DIR / _KEYS_FOLDER
        may_be_bundled = self.bundled_model_of(self.serve[0]) is not None
        return (own, bundled) if may_be_bundled else (own,)

    @property
    def reports(self) -> Path:
        """The folder of pages and of rows that were set aside."""
        return self.data_dir / "reports"

    def script(self, *words: str) -> str:
        """What a person types to run one of the scripts here: in containers, in the trainer's."""
        return " ".join((self.script_runner, *words))

    @property
    def _is_default_data_dir(self) -> bool:
        return self.data_dir.resolve() == _DATA_DIR.resolve()


def load_settings() -> Settings:
    """Read the settings; raises InvalidSetting with one line naming each wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_url=False)]
        raise InvalidSetting("; ".join(wrong)) from error
    except SettingsError as error:
        name = str(error).split('"')[1].upper()
        raise InvalidSetting(
            f'{name}: the value is not JSON; write a list as ["https://a.example"]'
        ) from error


def unread_names() -> list[str]:
    """A sentence for each name in `.env` and the environment that has no effect, with the way
    out."""
    return [*_of_file(), *_of_environment()]


def _of_file() -> Iterator[str]:
    for name in map(str.upper, DotEnvSettingsSource(Settings).env_vars):
        if name in _WITHOUT_EFFECT:
            yield f".env: {_without_effect(name)}"
        elif name not in _known() and not _OF_COMPOSE.fullmatch(name):
            yield f".env: {_no_setting(name, _nearest(name, _LIKELY))}"


def _of_environment() -> Iterator[str]:
    for name in map(str.upper, os.environ):
        if name in _WITHOUT_EFFECT:
            yield f"environment: {_without_effect(name)}"
        elif name not in _known() and "_" in name and (meant := _nearest(name, _NEARLY_SURE)):
            yield f"environment: {_no_setting(name, meant)}"


def _known() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def _nearest(name: str, likeness: float) -> str | None:
    return next(iter(get_close_matches(name, _known(), n=1, cutoff=likeness)), None)


def _without_effect(name: str) -> str:
    return f"{name} has no effect: {_WITHOUT_EFFECT[name]}"


def _no_setting(name: str, meant: str | None) -> str:
    return f"{name} is not a setting" + (f"; did you mean {meant}?" if meant else "")
