"""Scored batches as records: found, joined and kept like those of a service."""

from contextlib import closing

import pyarrow as pa

from engine.assemble import open_records, open_stores
from engine.domain.record import Outcome, RecordQuery
from engine.scoring.batch import Scorer, ScoringOrder
from engine.scoring.recorded import append_batch
from engine.settings import Settings
from problems.housing import HOUSING, simulate


def test_a_batch_that_is_recorded_again_changes_nothing_and_its_outcomes_can_be_reported(
    settings: Settings,
) -> None:
    order = order_of(settings)
    batch, _ = Scorer(order).score(pa.RecordBatch.from_pydict(simulate(2_300, seed=7)), 1_700)
    with closing(open_records(settings)) as store:
        for _ in range(2):
            append_batch(store, order, batch, first=1_700)
        ids = batch["prediction_id"].to_pylist()
        outcomes = [Outcome(id_, 1.0, order.at) for id_ in (ids[0], ids[300], ids[-1])]
        assert store.label("housing", outcomes) == 3
        found = [*store.read(RecordQuery("housing"))]
    assert [one.record.id for one in found] == ids
    assert [one.outcome for one in found if one.outcome] == outcomes


def order_of(settings: Settings) -> ScoringOrder:
    return ScoringOrder(
        schema=HOUSING.schema,
        target=HOUSING.target,
        artifact=open_stores(settings, "housing").champion.load(),
        confidence=0.9,
        threshold=0.5,
        run="run",
        at="2026-01-01T00:00:00.000Z",
    )
