"""What every problem keeps: one more in `problems/` is tried by these tests without a line here.

`flats` stands for the problems that somebody's own table declares.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from app.main import create_app
from engine.assemble import open_features, open_stores
from engine.domain.artifact import Artifact
from engine.domain.columns import Category, Number
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.features import Features
from engine.domain.kinds import BINARY, POSITIVE, REAL
from engine.domain.problem import Columns, Contract, Lookup, Problem
from engine.domain.schema import Target
from engine.judging.intervals import covered
from engine.learning.compile import disagreement
from engine.learning.parity import ensembles_of
from engine.model.runtime import run
from engine.settings import Settings
from engine.tables.table import check
from problems import PROBLEMS
from problems.declared import Declaration
from problems.declared import problem as own
from tests.conftest import running
from tests.trained import folder_of_run, home_with, settings_of

EXACT = 1e-9
FRESH_ROWS = 4_000
LIMIT = 3


def draw_flats(rows: int, seed: int) -> Columns:
    """Flats of which some facts are unknown, and by how much each one's rent was off, in EUR."""
    rng = np.random.default_rng(seed)
    size, district = rng.gamma(6, 12, rows).clip(10, 400).round(1), rng.integers(3, size=rows)
    off = 0.5 * (size - 70) + 40 * (district - 1) + rng.normal(0, 5 + size / 10)
    return {
        "size": np.where(rng.random(rows) < 0.1, np.nan, size),
        "rooms": np.ceil(size / 30),
        "district": np.where(
            rng.random(rows) < 0.1, np.array(None), np.array(["A", "B", "C"])[district]
        ),
        "off": off.round(2),
    }


FLATS = Declaration(
    title="Flats",
    columns=(
        Number("size", "square metres", "Size.", 5, 1_000, 70.5, may_be_missing=True),
        Number("rooms", "rooms", "Number of rooms.", 0, 50, 3, is_whole=True),
        Category("district", "Where it is.", ("A", "B", "C"), "B", may_be_missing=True),
    ),
    target=Target("off", "EUR", "By how much the rent was off.", -5_000, 5_000, REAL),
    slices=("size",),
)
EVERY = {**PROBLEMS, "flats": replace(own("flats", FLATS), simulate=draw_flats)}
CONTRACTS = [(name, number) for name in EVERY for number in range(len(EVERY[name].contracts))]


@pytest.fixture(scope="session", params=EVERY)
def problem(request: pytest.FixtureRequest) -> Problem:
    return EVERY[request.param]


@pytest.fixture(scope="session", params=CONTRACTS, ids=lambda at: f"{at[0]}-{at[1]}")
def route(request: pytest.FixtureRequest) -> tuple[Problem, Contract]:
    """Each problem with each of its contracts."""
    name, number = request.param
    return EVERY[name], EVERY[name].contracts[number]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a champion of every problem."""
    home = tmp_path_factory.mktemp("every")
    home_with(list(EVERY.values()), folder_of_run(tmp_path_factory), home)
    for problem in EVERY.values():
        if problem.lookup is not None:
            with closing(open_features(settings_of(home, problem.name))) as store:
                store.put(problem.name, list(features_of(problem, problem.lookup)))
    return home


def features_of(problem: Problem, lookup: Lookup) -> Iterator[Features]:
    table = lookup.simulate(20, 3)
    for key, at, row in zip(table[lookup.key], table["at"], rows_of(problem, table), strict=True):
        yield Features(key, at, row)


@pytest.fixture(scope="session")
def artifact(problem: Problem, home: Path) -> Artifact:
    return open_stores(settings_of(home, problem.name), problem.name).champion.load()


@pytest.fixture(scope="session")
def document(home: Path) -> dict[str, Any]:
    """What one service that serves all of them says of itself."""
    return create_app(settings_of(home, *EVERY)).openapi()


def drawn(problem: Problem, rows: int, seed: int) -> Columns:
    assert problem.simulate is not None
    return problem.simulate(rows, seed)


def body_type(contract: Contract) -> TypeAdapter[Any]:
    return TypeAdapter(contract.request(LIMIT))


@cache
def validated(name: str) -> TypeAdapter[Any]:
    """The type of a problem's rows."""
    return TypeAdapter(EVERY[name].schema.row_type("Row"))


def parsed(contract: Contract, body: Mapping[str, Any]) -> Any:
    return body_type(contract).validate_json(json.dumps(body))


def rows_of(problem: Problem, columns: Columns) -> Iterator[dict[str, Any]]:
    """Rows of a table as a caller would send them: what is missing is null."""
    for values in zip(*(np.asarray(columns[name]) for name in problem.schema.names), strict=True):
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        yield {
            name: None if value != value else value
            for name, value in zip(problem.schema.names, plain, strict=True)
        }


def test_the_words_and_numbers_of_a_declaration_make_sense(problem: Problem) -> None:
    assert problem.title.strip()
    assert len(set(problem.schema.names)) == len(problem.schema.names)
    assert problem.target.name not in problem.schema.names
    for column in (*problem.schema.columns, problem.target):
        assert column.unit.strip(), column.name
        assert column.description.endswith("."), column.name
        assert column.low < column.high, column.name
    assert problem.target.kind != POSITIVE or problem.target.low > 0
    assert problem.target.kind != BINARY or (problem.target.low, problem.target.high) == (0, 1)


def test_watched_slices_are_numeric_features(problem: Problem) -> None:
    numeric = {column.name for column in problem.schema.columns if isinstance(column, Number)}
    assert set(problem.slices) <= numeric


def test_the_example_is_a_row_that_nothing_is_missing_from(problem: Problem) -> None:
    example = validated(problem.name).validate_json(json.dumps(problem.schema.example))
    codes = problem.schema.encode([example])[0]
    assert np.isfinite(codes).all()
    assert problem.schema.warnings([example]) == [[]]
    for code, column in zip(codes, problem.schema.columns, strict=True):
        assert column.low <= code <= column.high


def test_documented_bodies_are_valid_and_ask_about_something(
    route: tuple[Problem, Contract],
) -> None:
    problem, contract = route
    assert contract.examples
    for name, example in contract.examples.items():
        entities = contract.entities(parsed(contract, example))
        assert entities, name
        for key, row in entities:
            assert key is not None or row is not None
            assert row is not None or problem.lookup is not None
            if row is not None:
                validated(problem.name).validate_python(dict(row))


def test_a_field_that_is_not_declared_is_refused(route: tuple[Problem, Contract]) -> None:
    _, contract = route
    for example in contract.examples.values():
        with pytest.raises(ValidationError, match="surprise"):
            parsed(contract, {**example, "surprise": 1})


def test_a_body_holds_as_many_rows_as_are_allowed_and_not_one_more(
    route: tuple[Problem, Contract],
) -> None:
    _, contract = route
    example = next(iter(contract.examples.values()))
    lists = [name for name, value in example.items() if isinstance(value, list)]
    for name in lists:
        several = example[name][:1] * LIMIT
        assert len(contract.entities(parsed(contract, {**example, name: several}))) == LIMIT
        for wrong in ([], [*several, several[0]]):
            with pytest.raises(ValidationError, match=name):
                parsed(contract, {**example, name: wrong})


def test_the_openapi_document_shows_the_examples_and_calls_them_valid(
    route: tuple[Problem, Contract], document: dict[str, Any]
) -> None:
    problem, contract = route
    operation = document["paths"][f"/v1/{problem.name}{contract.path}"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    shown = {name: example["value"] for name, example in content["examples"].items()}
    assert shown == contract.examples
    for example in shown.values():
        validator(document, content["schema"]).validate(example)


def test_a_body_with_as_many_rows_as_a_request_may_hold_is_read(
    route: tuple[Problem, Contract],
) -> None:
    """With the limits as they are when nobody sets them."""
    limits = Settings(_env_file=None)
    for example in route[1].examples.values():
        full = {
            n: v[:1] * limits.max_batch_size if isinstance(v, list) else v
            for n, v in example.items()
        }
        assert len(json.dumps(full)) < limits.max_body_bytes


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def test_no_two_types_share_a_name() -> None:
    """One document describes all problems, and clients are made from it."""
    known: dict[str, Any] = {}
    for name, number in CONTRACTS:
        contract = EVERY[name].contracts[number]
        for kind in (contract.request(LIMIT), contract.reply):
            schema = TypeAdapter(kind).json_schema()
            for title, facts in {**schema.pop("$defs", {}), schema["title"]: schema}.items():
                assert known.setdefault(title, facts) == facts, f"{name}: {title}"


@pytest.mark.anyio
async def test_documented_bodies_are_answered_as_the_document_says(
    home: Path, document: dict[str, Any]
) -> None:
    async with running(settings_of(home, *EVERY)) as client:
        for name, number in CONTRACTS:
            contract = EVERY[name].contracts[number]
            path = f"/v1/{name}{contract.path}"
            answered = document["paths"][path]["post"]["responses"]["200"]
            for example in contract.examples.values():
                reply = await client.post(path, json=example)
                assert reply.status_code == 200, (path, reply.text)
                TypeAdapter(contract.reply).validate_json(reply.content, strict=True)
                said = reply.json()
                validator(document, answered["content"]["application/json"]["schema"]).validate(
                    said
                )
                assert set(said) >= set(contract.reply.__required_keys__)


def test_a_simulation_is_the_same_for_the_same_seed_and_keeps_the_schema(problem: Problem) -> None:
    names = (*problem.schema.names, problem.target.name)
    columns, again, other = (drawn(problem, 1_500, seed) for seed in (5, 5, 6))
    for name in names:
        values = np.asarray(columns[name])
        assert values.shape == (1_500,)
        np.testing.assert_array_equal(values, np.asarray(again[name]))
    assert list(columns[names[-1]]) != list(other[names[-1]])
    _, rejected = check(problem, columns, "simulated")
    assert (rejected.rows, dict(rejected.unknown)) == (0, {})
    assert len(check(problem, drawn(problem, 1, 7), "simulated")[0]) == 1


def test_a_simulation_lacks_values_where_they_may_be_missing_and_only_there(
    problem: Problem,
) -> None:
    table = check(problem, drawn(problem, 1_500, 5), "simulated")[0]
    missing = np.isnan(table.rows).mean(axis=0)
    for share, column in zip(missing, problem.schema.columns, strict=True):
        has_gaps = column.may_be_missing and not column.warns_of_gap
        assert (0.01 < share < 0.75) if has_gaps else share == 0, column.name
    if problem.target.kind == BINARY:
        assert set(table.target) == {0.0, 1.0}


def test_rows_of_the_simulation_are_rows_that_a_caller_may_send(problem: Problem) -> None:
    rows = list(rows_of(problem, drawn(problem, 300, 8)))
    table = check(problem, drawn(problem, 300, 8), "simulated")[0]
    valid = [validated(problem.name).validate_json(json.dumps(row)) for row in rows]
    np.testing.assert_array_equal(problem.schema.encode(valid), table.rows)


def values_of(column: Number | Category) -> st.SearchStrategy[Any]:
    """Anything that is valid for a column, its bounds and the unknown included."""
    if isinstance(column, Category):
        values: st.SearchStrategy[Any] = st.sampled_from(column.categories) | st.text(max_size=200)
    elif column.is_whole:
        values = st.integers(int(column.low), int(column.high))
    else:
        ends = st.sampled_from((column.low, column.high, column.example))
        values = ends | st.floats(column.low, column.high)
    return values | st.none() if column.may_be_missing else values


def valid_rows(problem: Problem) -> st.SearchStrategy[list[dict[str, Any]]]:
    columns = {column.name: values_of(column) for column in problem.schema.columns}
    optional = {c.name: columns.pop(c.name) for c in problem.schema.columns if c.may_be_missing}
    return st.lists(st.fixed_dictionaries(columns, optional=optional), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_valid_row_is_encoded_and_answered(
    problem: Problem, artifact: Artifact, data: st.DataObject
) -> None:
    rows = [validated(problem.name).validate_python(row) for row in data.draw(valid_rows(problem))]
    matrix = problem.schema.encode(rows)
    assert matrix.shape == (len(rows), len(problem.schema.columns))
    warnings = problem.schema.warnings(rows)
    for row, codes, said in zip(rows, matrix, warnings, strict=True):
        unknown = 0
        for column, code in zip(problem.schema.columns, codes, strict=True):
            value = column.read(row.get(column.name))
            is_known = value in column.categories if column.categories else value is not None
            assert np.isfinite(code) if is_known else np.isnan(code)
            unknown += not is_known and (value is not None or column.warns_of_gap)
        assert len(said) == unknown
    outputs = run(artifact.graph, matrix)
    interval = artifact.calibration.interval(outputs, DEFAULT_CONFIDENCE)
    assert problem.target.kind.measure.is_answer(artifact.calibration.values(outputs)).all()
    assert (interval.lower <= interval.upper).all()


def test_the_graph_answers_as_its_estimators_do_whatever_is_missing(
    problem: Problem, artifact: Artifact
) -> None:
    rows = check(problem, drawn(problem, 2_000, 11), "simulated")[0].rows
    may_miss = [column.may_be_missing for column in problem.schema.columns]
    emptier = rows.copy()
    emptier[(np.random.default_rng(0).random(rows.shape) < 0.5) & may_miss] = np.nan
    ensembles = ensembles_of(artifact)
    unit = 1.0 if problem.target.kind != REAL else float(np.ptp(artifact.golden.values))
    for matrix in (rows, emptier, rows[:1]):
        assert disagreement(ensembles, artifact.graph, matrix, unit=unit) < EXACT


def test_what_a_model_promises_holds_on_fresh_rows(problem: Problem, artifact: Artifact) -> None:
    """Intervals cover. In every fifth of the rows, from the least to the most likely, an event
    happens as often as the bounds around its probability say.

    Three standard deviations: of coverage given so many calibration rows, of a mean of events.
    """
    fresh = check(problem, drawn(problem, FRESH_ROWS, 21), "simulated")[0]
    outputs = run(artifact.graph, fresh.rows)
    interval = artifact.calibration.interval(outputs, DEFAULT_CONFIDENCE)
    if problem.target.kind == BINARY:
        values = artifact.calibration.values(outputs)
        for fifth in np.array_split(np.argsort(values, kind="stable"), 5):
            slack = 3 * (values[fifth] * (1 - values[fifth])).sum() ** 0.5 / len(fifth)
            seen = fresh.target[fifth].mean()
            assert interval.lower[fifth].mean() - slack < seen
            assert seen < interval.upper[fifth].mean() + slack
        return
    share = covered(interval, fresh.target).mean()
    variance = DEFAULT_CONFIDENCE * (1 - DEFAULT_CONFIDENCE)
    spread = variance / (artifact.calibration.rows + 2) + variance / FRESH_ROWS
    assert abs(share - DEFAULT_CONFIDENCE) < 3 * spread**0.5


def test_even_a_small_model_beats_one_answer_for_all(problem: Problem, artifact: Artifact) -> None:
    fresh = check(problem, drawn(problem, FRESH_ROWS, 22), "simulated")[0]
    values = artifact.calibration.values(run(artifact.graph, fresh.rows))
    kind = problem.target.kind
    same = fresh.target.mean() if kind == BINARY else np.median(fresh.target)
    gain = kind.measure.loss(np.full(FRESH_ROWS, same), fresh.target) - kind.measure.loss(
        values, fresh.target
    )
    assert gain.mean() > 3 * gain.std() / FRESH_ROWS**0.5


def looked_up() -> list[Any]:
    problems = [problem for problem in EVERY.values() if problem.lookup is not None]
    return [pytest.param(problem, id=problem.name) for problem in problems]


@pytest.mark.parametrize("problem", looked_up())
def test_features_to_look_up_are_rows_of_the_problem_known_since_some_day(
    problem: Problem,
) -> None:
    lookup = problem.lookup
    assert lookup is not None
    assert not np.isnan(problem.schema.encode([lookup.fallback])).any()
    validated(problem.name).validate_json(json.dumps(lookup.fallback))
    table, again = lookup.simulate(200, 3), lookup.simulate(200, 3)
    assert set(table) == {lookup.key, "at", *problem.schema.names}
    for name, values in table.items():
        np.testing.assert_array_equal(np.asarray(values), np.asarray(again[name]))
    keys = list(table[lookup.key])
    assert len(set(keys)) == len(keys) >= 200
    assert all(datetime.fromisoformat(at) < datetime.now(UTC) for at in table["at"])
    for row in rows_of(problem, table):
        validated(problem.name).validate_json(json.dumps(row))
    for contract in problem.contracts:
        for example in contract.examples.values():
            asked = set(contract.entities(parsed(contract, example)).keys)
            assert asked <= set(keys)
