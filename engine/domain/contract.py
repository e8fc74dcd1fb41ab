"""What a caller relies on: the one rule by which a model may answer for a problem.

Bounds, descriptions and examples may move under a running service. Names, units, categories and
their order, cells that may be missing, and what the target is called may not: a model that was made
for others answers with numbers that mean something else.
"""

from collections.abc import Iterable, Mapping

from engine.domain.artifact import Feature, ModelCard
from engine.domain.columns import Column
from engine.domain.kinds import TargetKind
from engine.domain.problem import Problem

_Terms = Mapping[str, object]
"""From the name of a term of the contract, in words, to its value."""
_MOST_TOLD = 3
_LONGEST_TOLD = 120
"""How many differences are shown, and how many characters of each side: a table may have hundreds
of columns or categories."""


def same_contract(problem: Problem, card: ModelCard) -> bool:
    """Whether a model was made for the contract that the problem declares today."""
    return declared_terms(problem) == _trained_terms(card)


def differences(problem: Problem, card: ModelCard) -> str:
    """What differs, in words; empty where nothing does."""
    here, there = declared_terms(problem), _trained_terms(card)
    found = [
        f"{what}: {_told(there[what])}, not {_told(term)}"
        for what, term in here.items()
        if what in there and there[what] != term
    ]
    more = [f"and {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else []
    return "; ".join(found[:_MOST_TOLD] + more)


def declared_terms(problem: Problem) -> _Terms:
    target = problem.target
    return {
        "problem": problem.name,
        **_target_terms(target.name, target.unit, target.kind, labels=target.labels),
        **_feature_terms(problem.schema.columns, is_tolerant=problem.declared is not None),
    }


def _trained_terms(card: ModelCard) -> _Terms:
    return {
        "problem": card.problem,
        **_target_terms(card.target, card.target_unit, card.target_kind, labels=card.target_labels),
        **_feature_terms(card.features, is_tolerant=card.declared is not None),
    }


def _target_terms(
    name: str, unit: str, kind: TargetKind, *, labels: tuple[str, str] | None
) -> _Terms:
    return {
        "target": name,
        "unit of the target": unit,
        "kind of the target": kind.value,
        "labels of the target": labels or (0, 1),
    }


def _feature_terms(features: Iterable[Column | Feature], *, is_tolerant: bool) -> _Terms:
    """Of a table of one's own any cell may be missing, so that is no term."""
    terms: dict[str, object] = {"features": tuple(feature.name for feature in features)}
    for feature in features:
        terms[f"unit of {feature.name}"] = feature.unit
        terms[f"categories of {feature.name}"] = feature.categories
        if not is_tolerant:
            terms[f"cells of {feature.name}"] = _presence(feature)
    return terms


def _presence(feature: Column | Feature) -> str:
    return "may be missing" if feature.may_be_missing else "always there"


def _told(term: object) -> str:
    text = ", ".join(map(repr, term)) if isinstance(term, tuple) else str(term)
    text = text or "none"
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..."
