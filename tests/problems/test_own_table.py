"""Somebody's own table: the page that explains it, and the problem that its card keeps."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from cli.server import ROOT, free_port, stop, wait_until_live
from engine.domain.answer import Answer
from engine.domain.artifact import Artifact, ModelCard
from engine.domain.columns import Category, Number
from engine.domain.errors import UntrustedArtifact
from engine.domain.kinds import BINARY, POSITIVE, REAL, TargetKind
from engine.domain.schema import Target
from problems.declared import (
    PLAIN,
    Declaration,
    as_json,
    continued,
    declaration_of,
    problem,
    problem_of,
)
from tests.replies import answer_of

PAGE = (ROOT / "docs" / "your-own-data.md").read_text()
SERVER = "python -m app"
PRICE = Target("price", "as price in the table", "From 10 to 20.", 1, 200, POSITIVE)
SOLD = Target("sold", "probability", "Whether.", 0, 1, BINARY, ("no", "yes"))
AREA = Number("Living Area", "as in the table", "From 20 to 250.", 0, 480, 75.5)
ROOMS = Number("rooms", "as in the table", "From 1 to 5.", 0, 9, 3, is_whole=True)
DISTRICT = Category("district", "A column.", ("centre", "north"), "centre", may_be_missing=True)
FLATS = Declaration("price of flats", (AREA, ROOMS, DISTRICT), PRICE, ("Living Area",))


def card_with(artifacts: list[Artifact], **changes: Any) -> ModelCard:
    """The card of a real model, read back from its JSON."""
    card = artifacts[0].card.model_copy(update={"problem": "flats", **changes})
    return ModelCard.model_validate_json(card.model_dump_json())


def answer(values: list[float], *, confidence: float = 0.9) -> Answer:
    truth = np.array(values)
    return answer_of(values, truth * 0.9, np.minimum(truth * 1.1, 1e9), confidence=confidence)


def test_a_card_gives_back_the_problem_that_was_declared(artifacts: list[Artifact]) -> None:
    card = card_with(artifacts, declared=as_json(FLATS))
    found = problem_of(card)
    assert declaration_of(card) == FLATS
    assert (found.name, found.title, found.slices) == ("flats", FLATS.title, FLATS.slices)
    assert (found.schema.names, found.target) == (("Living Area", "rooms", "district"), PRICE)
    assert found.declared == as_json(FLATS)


@pytest.mark.parametrize("wrong", [None, {}, {**as_json(FLATS), "columns": [{"name": "x"}]}])
def test_a_card_that_declares_no_problem_is_refused_by_name(
    artifacts: list[Artifact], wrong: dict[str, Any] | None
) -> None:
    with pytest.raises(UntrustedArtifact, match=r"flats v1\.0\.0"):
        problem_of(card_with(artifacts, declared=wrong))


@pytest.mark.parametrize(
    "name", ["Living Area", "class", "_id", "$ref", "a/b~c", "é", "items", " "]
)
def test_any_name_of_a_column_works_in_a_body(name: str) -> None:
    column = Number(name, "u", "d", 0, 10, 5)
    one, many = problem("flats", Declaration("t", (column,), PRICE)).contracts
    row = json.dumps({name: 5})
    assert TypeAdapter(one.request(9)).validate_json(row) == {name: 5}
    assert TypeAdapter(many.request(9)).validate_json(f'{{"rows": [{row}]}}') == {
        "rows": [{name: 5}]
    }
    with pytest.raises(ValidationError, match="must be a number"):
        TypeAdapter(one.request(9)).validate_json(json.dumps({name: "five"}))


def test_a_quantity_is_told_with_its_interval() -> None:
    one, many = problem("flats", FLATS).contracts
    said = one.answer(answer([12.345678]), {})
    assert list(said) == [
        "prediction_id",
        "prediction",
        "confidence_interval",
        "confidence",
        "warnings",
        "model_version",
        "predicted_at",
    ]
    assert said["prediction"] == 12.34568
    assert said["confidence_interval"] == {"lower": 11.11111, "upper": 13.58025}
    said = many.answer(answer([12.0, 15.0]), {"rows": [{}, {}]})
    assert said["count"] == 2
    TypeAdapter(many.reply).validate_python(said, strict=True)


@pytest.mark.parametrize(
    ("labels", "probability", "likelier"),
    [(("no", "yes"), 0.7, "yes"), (("no", "yes"), 0.2, "no"), (None, 0.7, 1), (None, 0.2, 0)],
)
def test_an_event_is_told_by_the_word_of_the_table_and_its_probability(
    labels: tuple[str, str] | None, probability: float, likelier: Any
) -> None:
    target = Target("sold", "probability", "Whether.", 0, 1, BINARY, labels)
    one, _ = problem("quick", Declaration("t", (AREA,), target)).contracts
    said = one.answer(answer([probability], confidence=0.9), {})
    assert (said["prediction"], said["probability"]) == (likelier, probability)
    assert "confidence" not in said
    TypeAdapter(one.reply).validate_python(said, strict=True)


@pytest.mark.parametrize(
    ("low", "high", "kind", "value", "told"),
    [
        (1_000, 1e7, POSITIVE, 412_345.678, 412_345.68),
        (1e-4, 10, POSITIVE, 0.00123456789, 0.001234568),
        (-500_000, 500_000, REAL, -12.345678, -12.0),
        (-0.5, 0.5, REAL, 0.0123456, 0.01235),
    ],
)
def test_quantities_are_told_to_the_digits_that_their_size_deserves(
    low: float, high: float, kind: TargetKind, value: float, told: float
) -> None:
    target = Target("it", "u", "d", low, high, kind)
    one, _ = problem("flats", Declaration("t", (AREA,), target)).contracts
    assert one.answer(answer([value]), {})["prediction"] == told


def test_problems_of_one_service_share_no_type() -> None:
    names = [
        TypeAdapter(type_).json_schema()["title"]
        for name in ("flats", "flats_1", "flats1", "price")
        for contract in problem(name, FLATS).contracts
        for type_ in (contract.request(9), contract.reply)
    ]
    assert len(set(names)) == len(names)


def test_bounds_may_move_under_one_name_and_nothing_else() -> None:
    wider = Number("Living Area", "as in the table", "From 20 to 300.", 0, 600, 80)
    optional = Number("rooms", "as in the table", "d", 0, 9, 3, is_whole=True, may_be_missing=True)
    turned = Category("district", "A column.", ("north", "centre"), "north", True)
    more = Category("district", "A column.", ("centre", "north", "west"), "west", True)

    def after(*columns: Number | Category, target: Target = PRICE) -> Any:
        newer = problem("flats", Declaration("t", columns, target))
        found = continued(newer, problem("flats", FLATS))
        return None if found is None else PLAIN.validate_python(found.declared).columns

    same_order = replace(turned, categories=("centre", "north"))
    assert after(wider, optional, turned) == (wider, optional, same_order)
    assert after(AREA, ROOMS, more) is None
    assert after(AREA, ROOMS) is None
    assert after(AREA, ROOMS, DISTRICT, target=SOLD) is None


def blocks() -> list[str]:
    """The commands of the page, in order."""
    return re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


def shown() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.load
@pytest.mark.timeout(300)
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    for name in (".venv", "app", "engine", "problems", "train_model.py", "retrain.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    port = free_port()
    env = {**os.environ, "API_PORT": str(port), "MODEL_POLL_SECONDS": "0.1", "no_proxy": "*"}
    before, server, after = parts()
    for block in before:
        execute(block, tmp_path, env)
    with started(server, tmp_path, env, port):
        said = [execute(block.replace("8000", str(port)), tmp_path, env) for block in after]
        replies = [json.loads(text) for text in said[:3]]
        info = json.loads(execute(f"curl -s localhost:{port}/model/info", tmp_path, env))
    assert [list(reply) for reply in replies[:2]] == [list(reply) for reply in shown()]
    told, written = replies[1]["predictions"][0], shown()[1]["predictions"][0]
    assert list(told) == list(written)
    assert list(told["probability_interval"]) == list(written["probability_interval"])
    assert replies[0]["model_version"] == "v1.0.0"
    assert replies[2]["recorded"] == 1
    assert "champion: v1.1.0" in said[3]
    assert info["model_version"] == "v1.1.0"
    assert (tmp_path / "data" / "reports" / "flats-v1.0.0.html").exists()


def parts() -> tuple[list[str], str, list[str]]:
    """What is done before the server runs, the server, and what is done beside it."""
    at = next(number for number, block in enumerate(blocks()) if SERVER in block)
    return blocks()[:at], blocks()[at], blocks()[at + 1 :]


@contextmanager
def started(block: str, folder: Path, env: dict[str, str], port: int) -> Iterator[None]:
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {block}"],
            cwd=folder,
            env=with_python(env),
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            wait_until_live(f"http://127.0.0.1:{port}", process)
            yield
        finally:
            stop(process)


def with_python(env: dict[str, str]) -> dict[str, str]:
    return {**env, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}


def execute(block: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-c", block],
        cwd=folder,
        env=with_python(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout
