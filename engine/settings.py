"""Everything that can be set from outside, read once from the environment and `.env`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from engine.domain.errors import InvalidSetting

COMMITTED_MODEL_KEY = "Uq0avMgVgrkPthpt68HFh73DIY8ngD36Noe8UloZbt8="
"""Public half of the key that signed the committed `housing_model.joblib`."""


class Settings(BaseSettings):
    """One frozen value, handed down; the README lists every field."""

    model_config = SettingsConfigDict(
        frozen=True, env_file=".env", extra="ignore", protected_namespaces=()
    )

    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65_535)
    api_workers: int = Field(1, ge=1, le=64)
    api_reload: bool = False
    model_path: Path = Path("housing_model.joblib")
    data_dir: Path = Path("data")
    registry_url: str | None = None
    records_url: str | None = None
    records: Literal["durable", "buffered", "off"] = "durable"
    records_queue: int = Field(10_000, ge=1)
    records_keep_days: int = Field(365, ge=1)
    signing_key: Path | None = None
    trusted_keys: list[str] = [COMMITTED_MODEL_KEY]
    admin_api_key: SecretStr | None = Field(None, min_length=16)
    max_batch_size: int = Field(1_000, ge=1, le=100_000)
    max_body_bytes: int = Field(262_144, ge=1_024)
    cors_origins: list[str] = []
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_file: Path | None = None
    model_poll_seconds: float = Field(0.5, gt=0, le=60)


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
            f'{name}: not JSON; a list looks like ["https://a.example"]'
        ) from error
