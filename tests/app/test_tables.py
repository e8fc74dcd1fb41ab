"""A table is answered as its rows would be: the same values, the same warnings, the same errors."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from cli.server import serving
from engine.assemble import open_records
from engine.domain.problem import TableForm
from engine.domain.record import RecordQuery
from engine.settings import Settings
from problems.churn import CHURN
from problems.housing import HOUSING, simulate
from problems.purchase import PURCHASE
from tests.conftest import HOUSE, running
from tests.trained import folder_of_run, home_with, settings_of

pytestmark = pytest.mark.anyio
ARROW = "application/vnd.apache.arrow.stream"
JSON, CSV = "application/json", "text/csv"
MOST = 6
Raw = Mapping[str, str]
"""A row of a table, each cell as JSON writes it."""
HOUSING_ROW = {name: json.dumps(value) for name, value in HOUSE.items()}
CHURN_ROW = {
    "user_id": '"12345"',
    "snapshot_date": '"2025-01-15"',
    **{name: json.dumps(value) for name, value in CHURN.schema.example.items()},
}
PURCHASE_ROW = {
    "user_id": '"u"',
    "item_id": '"i"',
    **{name: json.dumps(value) for name, value in PURCHASE.schema.example.items()},
}
ROUTES: dict[str, tuple[str, Raw]] = {
    "housing": ("/v1/housing/predict/batch", HOUSING_ROW),
    "churn": ("/v1/churn/predict/batch", CHURN_ROW),
    "purchase": ("/v1/purchase/predict", PURCHASE_ROW),
}
FORMS: dict[str, TableForm] = {
    p.name: form for p in (HOUSING, CHURN, PURCHASE) for c in p.contracts if (form := c.table)
}


@pytest.fixture(scope="module")
def home_of_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    problems = [HOUSING, CHURN, PURCHASE]
    run = folder_of_run(tmp_path_factory)
    return home_with(problems, run, tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
async def client(home_of_three: Path) -> AsyncIterator[httpx.AsyncClient]:
    limits = {"max_batch_size": MOST, "max_columnar_rows": MOST}
    async with running(settings_of(home_of_three, *ROUTES, **limits)) as client:
        yield client


def body_of_rows(problem: str, rows: Sequence[Raw]) -> str:
    field = FORMS[problem].field
    return f'{{"{field}": [{", ".join(map(ROW_OF[problem], rows))}]}}'


def written(row: Raw) -> str:
    return "{" + ", ".join(f'"{name}": {cell}' for name, cell in row.items()) + "}"


def churn_row(row: Raw) -> str:
    about = {name: cell for name, cell in row.items() if name in ("user_id", "snapshot_date")}
    features = {name: cell for name, cell in row.items() if name not in about}
    return written({**about, "features": written(features)})


ROW_OF = {"housing": written, "churn": churn_row, "purchase": written}


def body_of_columns(rows: Sequence[Raw]) -> str:
    columns = {name: f"[{', '.join(row[name] for row in rows)}]" for name in rows[0]}
    return written({"columns": written(columns)})


async def ask(
    client: httpx.AsyncClient, path: str, body: str | bytes, content: str = JSON, accept: str = JSON
) -> httpx.Response:
    headers = {"Content-Type": content, "Accept": accept, "X-Request-ID": "same"}
    return await client.post(path, content=body, headers=headers)


SAID = {
    "housing": lambda one: (
        one["predicted_price"],
        one["confidence_interval"]["lower"],
        one["confidence_interval"]["upper"],
    ),
    "churn": lambda one: (
        one["user_id"],
        one["snapshot_date"],
        one["churn_risk"],
        one["risk_interval"]["lower"],
        one["risk_interval"]["upper"],
        one["model_path"],
    ),
    "purchase": lambda one: (
        one["user_id"],
        one["item_id"],
        one["prediction"],
        one["probability"],
        one["interval"]["lower"],
        one["interval"]["upper"],
        one["confidence"],
    ),
}
"""What a row of a reply says besides id, version, time and warnings, in the order of columns."""


def said_of_columns(predictions: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [*zip(*(cells for name, cells in predictions.items() if name not in ABOUT), strict=True)]


ABOUT = {"prediction_id", "warnings"}


async def same_both_ways(client: httpx.AsyncClient, problem: str, rows: Sequence[Raw]) -> int:
    """The status, after both replies were found to say the same."""
    path = ROUTES[problem][0]
    by_row = await ask(client, path, body_of_rows(problem, rows))
    by_column = await ask(client, path, body_of_columns(rows))
    assert by_column.status_code == by_row.status_code, (by_row.text, by_column.text)
    if by_row.status_code != 200:
        assert refused(by_column) == refused(by_row)
        return by_row.status_code
    one_by_one, columns = by_row.json()["predictions"], by_column.json()["predictions"]
    assert said_of_columns(columns) == [*map(SAID[problem], one_by_one)]
    warnings = {str(n): row["warnings"] for n, row in enumerate(one_by_one) if row["warnings"]}
    assert columns["warnings"] == warnings
    assert by_column.json()["count"] == len(columns["prediction_id"]) == len(rows)
    assert by_column.json()["model_version"] == one_by_one[0]["model_version"]
    return 200


def refused(reply: httpx.Response) -> dict[str, Any]:
    """Where a body stops being JSON is another place in another body."""
    document: dict[str, Any] = reply.json()
    return {**document, "detail": document["detail"].partition(" at line ")[0]}


CELLS = [
    *("true", "false", "null", '"3"', '"large"', '""', "[]", "{}", "[1]", "NaN", "Infinity"),
    *("-Infinity", "1e400", "1e300", "-1", "-0.0", "0", "3.0000000001", "2.5", "9" * 30, "9" * 400),
    *('"NA"', '"paid"', '"Paid"', '" paid "', '"\\u0000"', '"\\ud800"', f'"{"x" * 201}"', "1e-320"),
    *('"2025-02-30"', "3.0", "9007199254740993", '"a b"', '"é"', '"a:b"'),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell[:20])
@pytest.mark.parametrize("problem", ROUTES)
async def test_an_odd_cell_is_judged_in_a_column_as_in_a_row(
    client: httpx.AsyncClient, problem: str, cell: str
) -> None:
    row = ROUTES[problem][1]
    names = [*row] if problem == "housing" else ["user_id", *(n for n in row if n in ODD)]
    for name in names:
        await same_both_ways(client, problem, [row, {**row, name: cell}, row])


ODD = {"snapshot_date", "active_days_7d", "watch_minutes_7d", "plan", "item_price", "item_category"}


@pytest.mark.parametrize("problem", ROUTES)
async def test_missing_and_unknown_columns_and_lengths_are_judged_as_those_of_rows(
    client: httpx.AsyncClient, problem: str
) -> None:
    row = ROUTES[problem][1]
    for name in row:
        await same_both_ways(client, problem, [{n: c for n, c in row.items() if n != name}] * 2)
    assert await same_both_ways(client, problem, [{**row, "colour": "1"}] * 2) == 422
    assert await same_both_ways(client, problem, [{**row, "colour": "true"}] * MOST) == 422
    assert await same_both_ways(client, problem, [row] * MOST) == 200
    assert await same_both_ways(client, problem, [row] * (MOST + 1)) == 422
    everything = dict.fromkeys(row, "[]")
    assert await same_both_ways(client, problem, [everything] * MOST) == 422


@pytest.mark.parametrize("problem", ROUTES)
async def test_no_rows_are_too_few_either_way(client: httpx.AsyncClient, problem: str) -> None:
    path, row = ROUTES[problem]
    by_row = await ask(client, path, body_of_rows(problem, []))
    empty = [
        (json.dumps({"columns": {name: [] for name in row}}), JSON),
        ('{"columns": {}}', JSON),
        (",".join(row) + "\r\n", CSV),
    ]
    for body, content in empty:
        reply = await ask(client, path, body, content)
        assert (reply.status_code, reply.json()) == (422, by_row.json())


async def test_what_is_recorded_of_columns_is_what_is_recorded_of_rows(settings: Settings) -> None:
    rows = [{**HOUSING_ROW, "bedrooms": str(n)} for n in range(4)]
    async with running(settings) as client:
        for body in (body_of_rows("housing", rows), body_of_columns(rows)):
            assert (await ask(client, "/predict/batch", body)).headers["X-Recorded"] == "committed"
    with closing(open_records(settings)) as records:
        kept = [joined.record.row for joined in records.read(RecordQuery("housing"))]
    assert kept[:4] == kept[4:] == [{**HOUSE, "bedrooms": n} for n in range(4)]


@pytest.mark.parametrize(
    ("body", "pointer", "rule"),
    [
        (
            '{"columns": {"bedrooms": [1, 2], "bathrooms": [1]}}',
            "/columns/bathrooms",
            "unequal_length",
        ),
        ('{"columns": {"bedrooms": 3}}', "/columns/bedrooms", "list_type"),
        ('{"columns": [1]}', "/columns", "dict_type"),
        ('{"columns": {}, "houses": []}', "/houses", "extra_forbidden"),
    ],
)
async def test_a_table_that_is_none_is_told_where(
    client: httpx.AsyncClient, body: str, pointer: str, rule: str
) -> None:
    reply = await ask(client, "/predict/batch", body)
    (error,) = reply.json()["errors"]
    assert (reply.status_code, error["pointer"], error["rule"]) == (422, pointer, rule)


@pytest.mark.parametrize(
    ("body", "content", "said"),
    [
        (b'{"columns": {"bedrooms": [1], "bedrooms": [2]}}', JSON, "'bedrooms' appears more"),
        (b'{"columns": {"bedrooms": [1,', JSON, "Invalid JSON"),
        (b"bedrooms,bedrooms\n1,2\n", CSV, "'bedrooms' appears more"),
        (b"bedrooms\n\xff\n", CSV, "not UTF-8"),
        (b"", CSV, "no header line"),
        (b'bedrooms\n"1\n', CSV, "not CSV"),
        (b"bedrooms", ARROW, "no Arrow IPC stream"),
        (b"", ARROW, "no Arrow IPC stream"),
    ],
)
async def test_bytes_that_are_no_table_are_a_bad_request(
    client: httpx.AsyncClient, body: bytes, content: str, said: str
) -> None:
    reply = await ask(client, "/predict/batch", body, content)
    assert (reply.status_code, said in reply.json()["detail"]) == (400, True), reply.text


def as_csv(rows: Sequence[Raw]) -> str:
    """Texts without their quotes; null is an empty cell."""
    lines = [",".join(rows[0])]
    for row in rows:
        lines.append(",".join("" if c == "null" else c.strip('"') for c in row.values()))
    return "\r\n".join(lines)


@pytest.mark.parametrize("problem", ROUTES)
async def test_csv_says_what_json_says(client: httpx.AsyncClient, problem: str) -> None:
    path, row = ROUTES[problem]
    rows = [row, {**row, [*row][-1]: "null" if problem != "housing" else "7.25"}]
    by_column = (await ask(client, path, body_of_columns(rows))).json()["predictions"]
    by_csv = (await ask(client, path, as_csv(rows), CSV)).json()["predictions"]
    assert said_of_columns(by_csv) == said_of_columns(by_column)
    assert by_csv["warnings"] == by_column["warnings"]


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("", "float_type"),
        ("many", "float_type"),
        ("inf", "finite_number"),
        ("1_0", "float_type"),
        ("nan", "float_type"),
        ("2.5", "multiple_of"),
        ("-1", "greater_than_equal"),
    ],
)
async def test_a_cell_of_csv_that_is_no_valid_number_is_told_row_and_field(
    client: httpx.AsyncClient, cell: str, rule: str
) -> None:
    body = as_csv([HOUSING_ROW, {**HOUSING_ROW, "bedrooms": cell}])
    reply = await ask(client, "/predict/batch", body, CSV)
    error = reply.json()["errors"][0]
    assert (reply.status_code, error["row"], error["field"]) == (422, 1, "bedrooms")
    assert error["rule"] == rule


async def test_rows_far_down_a_long_table_keep_their_number(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are validated some at a time."""
    monkeypatch.setattr("engine.serving.columnar._CELLS_AT_ONCE", 2 * len(HOUSING_ROW))
    rows = [HOUSING_ROW] * 5 + [{**HOUSING_ROW, "bedrooms": "2.5"}]
    assert await same_both_ways(client, "housing", rows) == 422


async def test_a_line_of_another_length_is_told_by_its_row(client: httpx.AsyncClient) -> None:
    body = as_csv([HOUSING_ROW, HOUSING_ROW]) + ",1"
    (error,) = (await ask(client, "/predict/batch", body, CSV)).json()["errors"]
    assert (error["row"], error["rule"]) == (1, "unequal_length")


async def test_every_format_answers_every_format_alike(client: httpx.AsyncClient) -> None:
    rows = [{**HOUSING_ROW, "bedrooms": str(n), "square_feet": "50000"} for n in range(3)]
    bodies: list[tuple[str | bytes, str]] = [
        (body_of_rows("housing", rows), JSON),
        (body_of_columns(rows), JSON),
        (as_csv(rows), CSV),
        (stream_of([{n: json.loads(c) for n, c in row.items()} for row in rows]), ARROW),
    ]
    said = []
    for body, content in bodies:
        as_text = await ask(client, "/predict/batch", body, content, CSV)
        as_arrow = await ask(client, "/predict/batch", body, content, ARROW)
        assert as_text.headers["content-type"].startswith(CSV)
        assert as_arrow.headers["content-type"] == ARROW
        lines = [*csv.DictReader(io.StringIO(as_text.text))]
        table = pa.ipc.open_stream(as_arrow.content).read_all().to_pylist()
        said.append([(float(x["predicted_price"]), x["warnings"].split(" | ")) for x in lines])
        said.append([(row["predicted_price"], row["warnings"]) for row in table])
        assert lines[0].keys() == table[0].keys()
    assert said == [said[0]] * 8
    assert said[0][0][1][0].startswith("square_feet 50000 is outside the range")


def stream_of(rows: list[dict[str, Any]]) -> bytes:
    return stream(pa.Table.from_pylist(rows))


def stream(table: Any) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, */*;q=0.8", JSON),
        ("text/*", CSV),
        ("application/json;q=0.5, text/csv", CSV),
        ("text/csv, application/json", CSV),
        (f"application/json;q=0, {ARROW}", ARROW),
    ],
)
async def test_the_reply_has_the_form_that_is_accepted_most(
    client: httpx.AsyncClient, accept: str | None, given: str
) -> None:
    headers = {"Accept": accept} if accept else {}
    client.headers.pop("Accept", None)
    reply = await client.post("/predict/batch", json={"houses": [HOUSE]}, headers=headers)
    assert reply.headers["content-type"].partition(";")[0] == given


async def test_a_form_that_cannot_be_given_is_not_acceptable(client: httpx.AsyncClient) -> None:
    body = body_of_rows("housing", [HOUSING_ROW])
    for accept in ("image/png", "application/json;q=0", "text/html, image/*"):
        reply = await ask(client, "/predict/batch", body, JSON, accept)
        assert (reply.status_code, "text/csv" in reply.json()["detail"]) == (406, True)


async def test_a_route_of_one_row_takes_json_only(client: httpx.AsyncClient) -> None:
    reply = await ask(client, "/predict", as_csv([HOUSING_ROW]), CSV)
    assert reply.status_code == 415
    assert (await ask(client, "/predict", json.dumps(HOUSE), JSON, CSV)).status_code == 200


async def test_rows_that_several_versions_answered_have_their_version_each(
    settings: Settings,
) -> None:
    key = {"X-API-Key": "right" * 5}
    canary = {"variants": [{"model_version": "v1.1.0-rc.1", "mode": "test", "share": 0.5}]}
    changed = Settings(**{**settings.model_dump(), "admin_api_key": "right" * 5}, _env_file=None)
    rows = [{**HOUSING_ROW, "square_feet": str(1_000 + n)} for n in range(40)]
    async with running(changed) as client:
        (await client.put("/deployment", json=canary, headers=key)).raise_for_status()
        reply = (await ask(client, "/predict/batch", body_of_columns(rows))).json()
    assert {*reply["predictions"]["model_version"]} == {"v1.0.0", "v1.1.0-rc.1"}
    assert "model_version" not in reply


def test_a_real_server_answers_arrow_from_pyarrow(home: Path, tmp_path: Path) -> None:
    drawn = {n: c for n, c in simulate(3_000, seed=9).items() if n != "price"}
    table = pa.table(drawn)
    environment = {
        "DATA_DIR": str(home / "data"),
        "MODEL_PATH": str(home / "champion.joblib"),
        "RECORDS_URL": f"sqlite:///{tmp_path}/records.db",
    }
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    with serving(environment) as url:
        got = httpx.post(
            f"{url}/predict/batch", content=stream(table), headers=headers, trust_env=False
        )
        rows = {"houses": table.slice(0, 1_000).to_pylist()}
        by_row = httpx.post(f"{url}/predict/batch", json=rows, trust_env=False).json()[
            "predictions"
        ]
    said = pa.ipc.open_stream(got.content).read_all()
    assert (said.num_rows, got.headers["X-Recorded"]) == (3_000, "committed")
    assert said["predicted_price"].to_pylist()[:1_000] == [row["predicted_price"] for row in by_row]
    assert said["warnings"].to_pylist()[:1_000] == [row["warnings"] for row in by_row]
    assert len({*said["prediction_id"].to_pylist()}) == 3_000
