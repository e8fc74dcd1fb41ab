"""Tables through a model on a Spark cluster: executors run the same `Scorer` on Arrow batches.

A task that is tried again gives the same rows the same ids: a row is named by its partition and its
place there, and both come from the plan. Each task's file is moved to the output when the whole job
has ended, so a task that died leaves nothing behind.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

from engine.domain.errors import UnusableTable
from engine.scoring.batch import Scorer, ScoringOrder, Tally

_ENGINE = Path(__file__).parents[1]
_FIXED = {
    # the output appears when the job ends, and not task by task
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "1",
    # two attempts of a task, one of them for nothing, would only cost time
    "spark.speculation": "false",
}
_LONGEST_REASON = 300


def score_on_spark(order: ScoringOrder, source: str, out: str, *, master: str) -> Tally:
    """Parquet to Parquet; both are places that every worker reaches. How many rows there were, and
    how many have no prediction. Spark's own settings are read as ever, from SPARK_CONF_DIR.

    Raises UnusableTable for a table that cannot be scored, and for a job that failed.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    with _session(master) as session:
        try:
            frame = session.read.parquet(source)
            order.refuse_unfit(source, frame.columns)
            sent = session.sparkContext.broadcast(order)
            schema = _with_predictions(frame.schema, order)
            frame.mapInArrow(_scorer_of(sent), schema).write.mode("error").parquet(out)
            return _counted(session, frame, order, out=out)
        except (PySparkException, Py4JError) as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise UnusableTable(f"Spark could not score {source}: {reason}") from error


@contextmanager
def _session(master: str) -> Iterator[Any]:
    """With the engine's own code on the way to every executor; its libraries must be there."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("predictive score")
    for name, value in _FIXED.items():
        builder = builder.config(name, value)
    with TemporaryDirectory(prefix="engine-") as folder:
        session = builder.config("spark.ui.showConsoleProgress", _is_watched()).getOrCreate()
        try:
            session.sparkContext.setLogLevel("ERROR")
            session.sparkContext.addPyFile(str(_zipped(Path(folder) / "engine.zip")))
            yield session
        finally:
            session.stop()


def _is_watched() -> str:
    return str(sys.stderr.isatty()).lower()


def _zipped(path: Path) -> Path:
    with ZipFile(path, "w") as archive:
        for file in sorted(_ENGINE.rglob("*.py")):
            archive.write(file, file.relative_to(_ENGINE.parent))
    return path


def _scorer_of(sent: Any) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What an executor does with a partition; `sent` holds the order there."""

    def score(batches: Iterable[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        place = f"-{TaskContext.get().partitionId()}"
        scorer, first = Scorer(sent.value), 0
        for batch in batches:
            yield scorer.score(batch, first, place)[0]
            first += batch.num_rows

    return score


def _with_predictions(schema: Any, order: ScoringOrder) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return type(schema)([*schema.fields, *from_arrow_schema(order.added).fields])


def _counted(session: Any, frame: Any, order: ScoringOrder, *, out: str) -> Tally:
    """What was written, against what there was. Tasks cannot count: some ran twice."""
    reason = f"{order.prefix}reason"
    written = session.read.parquet(out)
    rows, bad = written.count(), written.filter(written[reason].isNotNull()).count()
    there = frame.count()
    if rows != there:
        raise UnusableTable(f"{out} holds {rows:,} rows of {there:,}: the table changed meanwhile")
    return Tally(rows, bad)
