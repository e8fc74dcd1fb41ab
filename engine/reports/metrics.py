"""How figures are shown: of a model on its own, and of champion and challenger side by side."""

from engine.domain.artifact import Artifact
from engine.judging import probabilities
from engine.judging.evidence import Evidence, ModelAnswers
from engine.judging.intervals import covered, point_errors, winkler, worst_slice

_AMOUNT = "amount"
FIGURES = {
    "R2 train": ("train", "r2", "{:.3f}"),
    "R2": ("test", "r2", "{:.3f}"),
    "RMSE": ("test", "rmse", _AMOUNT),
    "MAE": ("test", "mae", _AMOUNT),
    "MAPE": ("test", "mape", "{:.1%}"),
    "cover 80 %": ("test", "coverage_80", "{:.1%}"),
    "cover 90 %": ("test", "coverage_90", "{:.1%}"),
    "cover 95 %": ("test", "coverage_95", "{:.1%}"),
    "worst slice": ("test", "worst_slice_coverage_90", "{:.1%}"),
    "width": ("test", "mean_width_90", _AMOUNT),
    "Winkler": ("test", "winkler_90", _AMOUNT),
}
EVENT_FIGURES = {
    "log loss train": ("train", "log_loss", "{:.4f}"),
    "log loss": ("test", "log_loss", "{:.4f}"),
    "Brier": ("test", "brier", "{:.4f}"),
    "skill": ("test", "skill", "{:.1%}"),
    "calibration error": ("test", "ece", "{:.3f}"),
    "worst slice": ("test", "worst_slice_calibration_error", "{:.3f}"),
    "AUC": ("test", "auc", "{:.3f}"),
    "base rate": ("test", "base_rate", "{:.1%}"),
    "width at 90 %": ("test", "mean_width", "{:.3f}"),
}
"""The calibration error is the expected one; skill the share of the base rate's Brier score."""


def figure(artifact: Artifact, wanted: tuple[str, str, str]) -> str:
    part, name, form = wanted
    value = artifact.card.metrics[part].get(name)
    if value is None:
        return "too few rows"
    return _amount(value) if form == _AMOUNT else form.format(value)


def of_quantity(evidence: Evidence, side: ModelAnswers) -> dict[str, str]:
    measure, truth = evidence.kind.measure, evidence.truth
    errors = point_errors(side.values, truth, evidence.kind)
    hits = covered(side.interval, truth)
    worst = worst_slice(hits, {"predicted": side.values, **evidence.sliced})
    relative = {"MAPE": f"{errors['mape']:.1%}"} if "mape" in errors else {}
    return {
        f"mean {measure.loss_name}": f"{measure.loss(side.values, truth).mean():.4g}",
        "MAE": _amount(errors["mae"]),
        "RMSE": _amount(errors["rmse"]),
        **relative,
        "R2": f"{errors['r2']:.3f}",
        "interval score": _amount(float(winkler(side.interval, truth).mean())),
        "coverage": f"{hits.mean():.1%}",
        "worst slice": f"{worst:.1%}",
        "latency, µs a row": f"{side.latency_us:.0f}",
    }


def of_event(evidence: Evidence, side: ModelAnswers) -> dict[str, str]:
    found = probabilities.figures(
        side.values, side.interval, evidence.truth, sliced=evidence.sliced
    )
    return {
        "log loss": f"{found['log_loss']:.4f}",
        "Brier": f"{found['brier']:.4f}",
        "skill": f"{found['skill']:.1%}",
        "calibration error": f"{found['ece']:.3f}",
        "AUC": f"{found['auc']:.3f}",
        "mean probability": f"{side.values.mean():.1%}",
        "worst slice": f"{found['worst_slice_calibration_error']:.3f}",
        "latency, µs a row": f"{side.latency_us:.0f}",
    }


def _amount(value: float) -> str:
    """A whole number from 1,000 on, else four significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
