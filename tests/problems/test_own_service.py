"""A service of one's own table takes rows as the table has them."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from engine.assemble import open_records, open_stores
from engine.domain.effort import FAST
from engine.domain.record import RecordQuery
from engine.domain.version import FIRST
from engine.learning.kinds import LEARNERS
from engine.learning.train import Origin, train
from engine.settings import Settings
from engine.tables.infer import infer
from engine.tables.split import split
from engine.tables.table import check
from problems import declared
from tests.conftest import empty_settings, running

pytestmark = pytest.mark.anyio
ROWS = 600


def flats() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    area, rooms = rng.normal(75, 20, ROWS).clip(20).round(1), rng.integers(1, 6, ROWS)
    centre = rng.random(ROWS) < 0.5
    price = 3_000 * area * np.where(centre, 1.3, 1) * np.exp(rng.normal(0, 0.1, ROWS))
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "area": area,
            "rooms": rooms,
            "district": np.where(centre, " centre", " north"),
            "garden": rng.random(ROWS) < 0.3,
            "floor": np.where(rng.random(ROWS) < 0.2, np.nan, rng.integers(0, 9, ROWS)),
            "price": price.round(-2),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = flats()
    found = infer(frame, "price", source="flats.csv", drop=("id",))
    columns = found.schema.columns
    declaration = declared.Declaration("t", columns, found.target, found.slices, found.ignored)
    problem = declared.problem("flats", declaration)
    table = check(problem, frame, "flats.csv")[0]
    artifact = train(
        problem,
        table,
        split(table, 0),
        candidate=LEARNERS[problem.target.kind].candidates[FAST][0],
        origin=Origin(FIRST, "2026-01-01T00:00:00.000Z", 0),
        tell=lambda step: None,
    )
    folder = tmp_path_factory.mktemp("flats")
    stores = open_stores(settings_in(folder), "flats")
    stores.artifacts.save(artifact)
    stores.champion.move("trained", FIRST, who="tests", why="the first", after=0)
    return folder


def settings_in(folder: Path) -> Settings:
    return empty_settings(folder, serve=("flats",))


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_in(folder)) as client:
        yield client


ROW = {"area": 80.5, "rooms": 3, "district": "centre", "garden": "True", "floor": 2}


async def said(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    reply = await client.post("/predict", json={**ROW, **changes})
    answer: dict[str, Any] = reply.raise_for_status().json()
    return answer


@pytest.mark.parametrize(
    "same",
    [
        {"area": "80.5", "rooms": "3", "floor": " 2 "},
        {"rooms": 3.0, "district": " centre "},
        {"garden": True},
        {"garden": 1},
        {"garden": "TRUE"},
    ],
)
async def test_one_row_written_in_many_ways_gets_one_answer(
    client: httpx.AsyncClient, same: dict[str, Any]
) -> None:
    first, again = await said(client), await said(client, **same)
    assert again["prediction"] == first["prediction"]
    assert again["confidence_interval"] == first["confidence_interval"]
    assert again["warnings"] == first["warnings"] == []


@pytest.mark.parametrize("nothing", [None, "", "NA", "  "])
async def test_what_is_missing_may_be_written_or_left_out(
    client: httpx.AsyncClient, nothing: Any
) -> None:
    absent = {name: value for name, value in ROW.items() if name != "floor"}
    left_out = (await client.post("/predict", json=absent)).json()
    written = await said(client, floor=nothing)
    assert written["prediction"] == left_out["prediction"]
    assert written["warnings"] == left_out["warnings"] == []


async def test_columns_of_the_table_that_are_no_features_are_ignored_with_a_warning(
    client: httpx.AsyncClient, folder: Path
) -> None:
    first, again = await said(client), await said(client, id=7, price=1)
    assert again["prediction"] == first["prediction"]
    assert again["warnings"] == ["ignored, because no feature: price, id"]
    many = await client.post("/predict/batch", json={"rows": [ROW, {**ROW, "price": None}]})
    notes = [one["warnings"] for one in many.json()["predictions"]]
    assert notes == [[], ["ignored, because no feature: price"]]
    with closing(open_records(settings_in(folder))) as records:
        kept = {*(n for j in records.read(RecordQuery("flats")) for n in j.record.row)}
    assert kept == ROW.keys()


async def test_a_field_that_is_not_in_the_table_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={**ROW, "Area": 80.5})
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "Area")


@pytest.mark.parametrize(
    ("name", "value"),
    [("area", "large"), ("area", 1e31), ("area", "inf"), ("rooms", [3]), ("district", {})],
)
async def test_what_is_impossible_is_refused_by_name(
    client: httpx.AsyncClient, name: str, value: Any
) -> None:
    reply = await client.post("/predict", json={**ROW, name: value})
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, name)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"area": 1_000}, "area 1000 is outside the range seen in training"),
        ({"area": -5}, "area -5 is outside the range seen in training"),
        ({"district": "harbour"}, "district 'harbour' is not a known category"),
        ({"rooms": None}, "rooms is missing, and never was in training"),
        ({"district": ""}, "district is missing, and never was in training"),
    ],
)
async def test_what_is_unusual_is_answered_with_a_warning(
    client: httpx.AsyncClient, change: dict[str, Any], warning: str
) -> None:
    answer = await said(client, **change)
    assert answer["prediction"] > 0
    assert len(answer["warnings"]) == 1
    assert answer["warnings"][0].startswith(warning)


async def test_rooms_may_be_no_whole_number_for_once(client: httpx.AsyncClient) -> None:
    assert (await said(client, rooms=2.5))["warnings"] == []


async def test_a_table_as_it_was_trained_on_is_answered_as_its_rows_are(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        {**ROW, "id": 1, "price": ""},
        {"area": "80.5", "rooms": " 3 ", "district": " centre", "garden": "1", "floor": "NA"}
        | {"id": 2, "price": "x"},
        {**ROW, "district": "harbour", "rooms": None, "floor": "", "id": 3, "price": 4},
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    as_csv = pd.DataFrame(columns).to_csv(index=False)
    one_by_one = (await client.post("/predict/batch", json={"rows": rows})).json()["predictions"]
    by_column = await client.post("/predict/batch", json={"columns": columns})
    by_csv = await client.post(
        "/predict/batch", content=as_csv, headers={"Content-Type": "text/csv"}
    )
    for reply in (by_column, by_csv):
        said = reply.raise_for_status().json()["predictions"]
        assert said["prediction"] == [row["prediction"] for row in one_by_one]
        assert said["lower"] == [row["confidence_interval"]["lower"] for row in one_by_one]
        assert said["upper"] == [row["confidence_interval"]["upper"] for row in one_by_one]
        assert [*said["warnings"].values()] == [row["warnings"] for row in one_by_one]
    assert len(one_by_one[2]["warnings"]) == 3


async def test_an_impossible_cell_of_a_table_is_refused_as_that_of_a_row(
    client: httpx.AsyncClient,
) -> None:
    rows = [ROW, {**ROW, "area": "large"}]
    by_row = await client.post("/predict/batch", json={"rows": rows})
    columns = {name: [row[name] for row in rows] for name in ROW}
    by_column = await client.post("/predict/batch", json={"columns": columns})
    assert by_column.status_code == by_row.status_code == 422
    assert by_column.json()["errors"] == by_row.json()["errors"]
