"""Proof that the compiled graph answers as its source does, wherever it may be asked."""

import io
from collections.abc import Iterator
from importlib.metadata import version as installed

import joblib
import numpy as np

from engine.domain.artifact import Artifact
from engine.domain.errors import UntrustedArtifact
from engine.domain.problem import Problem
from engine.domain.schema import Matrix
from engine.learning.compile import Ensembles, disagreement
from engine.learning.estimators import one_thread
from engine.learning.kinds import LEARNERS
from engine.tables.table import Table

_PARITY = 1e-9
"""Largest difference allowed between the compiled graph and the estimators, on the target's scale:
of a logarithm, of log-odds or a probability, or in multiples of the largest target that is none."""
_PARITY_ROWS = 4_000
_HOLES = 0.3
"""Share of cells that are made missing, where a cell may be missing."""


@one_thread()
def prove_parity(
    problem: Problem, table: Table, ensembles: Ensembles, *, graph: bytes, seed: int
) -> None:
    """Raises UntrustedArtifact unless graph and estimators agree on the table, on random points
    within its range and around it, on values next to each other in float32, and on all of these
    with holes, where a cell may be missing."""
    unit = LEARNERS[problem.target.kind].parity_unit(table.target)
    for rows in _places(problem, table, seed):
        difference = disagreement(ensembles, graph, rows, unit=unit)
        if not difference <= _PARITY:
            raise UntrustedArtifact(f"the compiled graph differs from its source by {difference:g}")


def _places(problem: Problem, table: Table, seed: int) -> Iterator[Matrix]:
    rng = np.random.default_rng(seed)
    low, high = np.nanmin(table.rows, axis=0), np.nanmax(table.rows, axis=0)
    width = high - low
    anywhere = rng.uniform(low - width, high + width, (_PARITY_ROWS, len(low)))
    inside = rng.uniform(low, high, anywhere.shape)
    near = np.nextafter(inside.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    may_be_missing = np.array(
        [c.may_be_missing or bool(c.categories) for c in problem.schema.columns]
    )
    for rows in (table.rows, anywhere, inside, near):
        yield rows
        if may_be_missing.any():
            hole = may_be_missing & (rng.random(rows.shape) < _HOLES)
            yield np.where(hole, np.nan, rows)
            yield np.where(may_be_missing, np.nan, rows[:1])


def ensembles_of(artifact: Artifact, *, allows_other_library: bool = False) -> Ensembles:
    """The estimators an artifact was compiled from.

    Raises UntrustedArtifact when scikit-learn is of another major or minor version than theirs,
    unless that is allowed: it would load them, and might answer differently.
    """
    then, now = artifact.card.libraries["scikit-learn"], installed("scikit-learn")
    if then.split(".")[:2] != now.split(".")[:2] and not allows_other_library:
        raise UntrustedArtifact(
            f"{artifact.card.version} was trained with scikit-learn {then}, this is {now}; "
            "train anew, install that version, or allow it with --other-library"
        )
    return Ensembles(**joblib.load(io.BytesIO(artifact.estimator)))
