"""A trained model at rest: the facts about it, and the parts that answer."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from engine.domain.columns import ColumnType
from engine.domain.conformal import Calibration
from engine.domain.effort import BEST, Effort
from engine.domain.errors import UnknownVersion
from engine.domain.kinds import POSITIVE, TargetKind
from engine.domain.schema import Matrix, Vector
from engine.domain.venn_abers import VennAbers
from engine.domain.version import Version


class Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Feature(Fact):
    """A column as it was in training: its type, unit, the range that was seen (NaN is beside it),
    and for a category the names its numbers stand for."""

    name: str
    type: ColumnType
    unit: str
    low: float
    high: float
    categories: tuple[str, ...] = ()
    may_be_missing: bool = False

    @model_validator(mode="before")
    @classmethod
    def _type_of_older_cards(cls, facts: Any) -> Any:
        """Older cards have no type: a feature with categories is a category."""
        if "type" in facts:
            return facts
        is_category = bool(facts.get("categories"))
        return {**facts, "type": ColumnType.CATEGORY if is_category else ColumnType.NUMBER}


class ModelCard(Fact):
    """The facts about an artifact. `metrics` maps a part of the data to its figures."""

    problem: str
    version: str
    algorithm: str
    trained_at: str
    seed: int
    effort: Effort = BEST
    """Older cards do not say: their models were as large."""
    target: str
    target_unit: str
    target_kind: TargetKind = POSITIVE
    target_labels: tuple[str, str] | None = None
    features: tuple[Feature, ...]
    metrics: dict[str, dict[str, float]]
    calibration: dict[str, Any]
    profile: dict[str, dict[str, list[float]]]
    data: dict[str, Any]
    libraries: dict[str, str]
    shortfall: str | None = None
    """What did not hold on the judging rows when it was trained; None where everything held."""
    declared: dict[str, Any] | None = None
    """The problem itself, where no file declares it but somebody's own table."""

    @field_validator("version")
    @classmethod
    def _is_semantic(cls, text: str) -> str:
        try:
            return str(Version.parse(text))
        except UnknownVersion as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, eq=False)
class Golden:
    """Rows with the answers the model gave when it was trained, at the default confidence."""

    rows: Matrix
    values: Vector
    lower: Vector
    upper: Vector


@dataclass(frozen=True, eq=False)
class Artifact:
    """Everything one version is: `graph` is ONNX, `estimator` the joblib dump of its source."""

    card: ModelCard
    graph: bytes
    estimator: bytes
    calibration: Calibration | VennAbers
    golden: Golden
    seen: NDArray[np.uint64]
    """Hashes of the features of every row that was fitted or calibrated on, each as often as it
    occurred: these rows must not judge this model."""

    def named(self, version: Version) -> "Artifact":
        """The same model under another version."""
        return replace(self, card=self.card.model_copy(update={"version": str(version)}))


def reproduces(golden: Golden, values: Vector, lower: Vector, *, upper: Vector) -> bool:
    """Whether recomputed answers equal the golden ones (relative difference below 1e-9)."""
    pairs = ((golden.values, values), (golden.lower, lower), (golden.upper, upper))
    return all(np.allclose(old, new, rtol=1e-9, atol=0) for old, new in pairs)
