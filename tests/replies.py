"""Records as the server writes them: what versions really say, kept in the real store."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest

from engine.assemble import open_records, open_stores
from engine.domain.answer import Answer, AnsweredRows, AnswerPart
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.prediction import Interval, Prediction
from engine.domain.problem import Problem
from engine.domain.record import Outcome, Record
from engine.domain.schema import Row, Vector
from engine.domain.version import Version
from engine.model.model import serve
from engine.settings import Settings
from problems.housing import HOUSING, simulate
from tests.blocks import put
from tests.older import put_as_before
from tests.scripts import through_group

START = datetime(2026, 11, 1, tzinfo=UTC)
KNOWN_AT = "2026-11-20T12:00:00.000Z"


def houses(n: int, seed: int, near: float = 1.0) -> tuple[list[dict[str, float]], list[float]]:
    """Rows of the simulated market and their prices, those near the centre changed."""
    frame = pd.DataFrame(simulate(n, seed)).astype(float)
    price = frame.pop("price")
    price = price.where(frame["distance_to_city"] >= 12, (price * near).round(-2))
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    return rows, price.tolist()


def replies(
    settings: Settings,
    rows: Sequence[Row],
    *,
    version: str = "v1.0.0",
    model: str | None = None,
    confidence: float = 0.9,
    problem: Problem = HOUSING,
    name: str = "reply",
    minutes: float = 1.0,
    **changes: Any,
) -> list[Record]:
    """What a version says of each row, asked one by one, so many minutes apart; `model` is the
    one that is asked under that name."""
    wanted = Version.parse(model or version)
    artifact = open_stores(settings, problem.name).artifacts.load(problem.name, wanted)
    asked = serve(artifact, problem, loaded_at="now")
    records = []
    for number, row in enumerate(rows):
        said = asked.predict(problem.schema.encode([row]), confidence)
        at = START + timedelta(minutes=number * minutes)
        facts: dict[str, Any] = {
            "id": f"{name}-{number}",
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "variant": "champion",
            "request_id": f"request-{number}",
            **changes,
        }
        bounds = said.interval
        records.append(
            Record(
                problem=problem.name,
                version=version,
                row=row,
                value=float(said.values[0]),
                lower=float(bounds.lower[0]),
                upper=float(bounds.upper[0]),
                level=bounds.confidence,
                **facts,
            )
        )
    return records


def keep(
    settings: Settings,
    records: Sequence[Record],
    truths: Mapping[str, float] | None = None,
    problem: Problem = HOUSING,
) -> None:
    """Append them, and report what became true of some ids."""
    with closing(open_records(settings)) as store:
        put(store, records)
        outcomes = [Outcome(name, actual, KNOWN_AT) for name, actual in (truths or {}).items()]
        if outcomes:
            store.label(problem.name, outcomes)


def keep_as_before(
    settings: Settings, records: Sequence[Record], truths: Mapping[str, float] | None = None
) -> None:
    """The same, as an earlier version of the service kept them."""
    outcomes = [Outcome(name, actual, KNOWN_AT) for name, actual in (truths or {}).items()]
    put_as_before(f"sqlite:///{settings.data_dir / 'records.db'}", records, outcomes)


def script(
    command: click.Command,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """A command in this process: exit code, what it printed, what it complained of."""
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("MODEL_PATH", str(settings.model_path))
    monkeypatch.setenv("SERVE", ",".join(settings.serve))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            through_group(command, arguments)
        return int(str(end.value.code)), *capsys.readouterr()

    return run


def answer_of(
    values: Sequence[float] | Vector,
    lower: Sequence[float] | Vector,
    upper: Sequence[float] | Vector,
    *,
    versions: Sequence[str] = (),
    confidence: float = DEFAULT_CONFIDENCE,
) -> Answer:
    """What a reply is made of: each row answered by its version, v1.0.0 where none is named."""
    columns = [np.array(column, dtype=float) for column in (values, lower, upper)]
    named = list(versions) or ["v1.0.0"] * len(values)
    parts = []
    for version in dict.fromkeys(named):
        places = np.array([place for place, one in enumerate(named) if one == version])
        value, low, high = (column[places] for column in columns)
        said = Prediction(value, Interval(low, high, confidence), [[] for _ in places])
        parts.append(AnswerPart(version, "champion", places, said, 0.001))
    answered = AnsweredRows(
        problem="any",
        id="id",
        predicted_at="2026-01-01T12:00:00.000Z",
        rows=[{}] * len(values),
        units=[None] * len(values),
        notes=[[]] * len(values),
        parts=parts,
        confidence=confidence,
        request_ids=["tests"] * len(values),
        callers=[None] * len(values),
    )
    return Answer(
        answered,
        slice(0, len(values)),
        place_of=lambda version: f"models/{version}",
        elapsed_ms=lambda: 1.0,
    )
