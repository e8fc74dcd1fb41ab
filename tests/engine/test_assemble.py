"""Adapters are chosen by the scheme of a URL, for every port alike."""

from pathlib import Path

import pytest

from engine.assemble import open_features, open_records, open_stores
from engine.domain.errors import InvalidSetting
from engine.settings import Settings
from engine.stores.features import MemoryFeatures, SqlFeatures
from engine.stores.memory_records import MemoryRecords
from engine.stores.records import SqlRecords
from engine.stores.redis_features import RedisFeatures
from tests.conftest import HOUSE, empty_settings, running


@pytest.mark.parametrize(
    ("url", "records", "features"),
    [
        (None, SqlRecords, SqlFeatures),
        ("memory://", MemoryRecords, MemoryFeatures),
        ("sqlite:///here.db", SqlRecords, SqlFeatures),
    ],
)
def test_one_table_of_schemes_serves_every_port(
    tmp_path: Path, url: str | None, records: type, features: type
) -> None:
    settings = empty_settings(tmp_path, records_url=url, features_url=url, registry_url=url)
    assert type(open_records(settings)) is records
    assert type(open_features(settings)) is features
    assert open_stores(settings, "housing").champion.history() == []


def test_redis_keeps_features_and_nothing_else(tmp_path: Path) -> None:
    settings = empty_settings(tmp_path, features_url="redis://localhost", records_url="redis://x")
    assert type(open_features(settings)) is RedisFeatures
    with pytest.raises(InvalidSetting, match="RECORDS_URL"):
        open_records(settings)


@pytest.mark.anyio
async def test_a_service_may_keep_its_records_in_memory(settings: Settings) -> None:
    trial = settings.model_copy(update={"records_url": "memory://"})
    async with running(trial) as client:
        reply = await client.post("/predict", json=HOUSE)
        outcome = {"prediction_id": reply.json()["prediction_id"], "actual": 400_000}
        told = await client.post("/feedback", json=outcome)
    assert reply.headers["X-Recorded"] == "committed"
    assert told.json()["recorded"] == 1
    assert not (settings.data_dir / "records.db").exists()
