"""What can go wrong, as nouns; only `app/errors.py` knows which HTTP status each becomes.

ServiceError
├── InvalidInput            the request breaks the declared schema; lists field, row and rule
├── MalformedBody           the body is not JSON
├── BodyTooLarge            the body is larger than the service reads
├── BodyTooSlow             the body did not arrive in time
├── UnsupportedMediaType    the body is declared as something the route does not read
├── NotAcceptable           no format that the caller accepts can be written
├── UnsupportedConfidence   the model cannot answer at this level
├── UnknownVersion          no registered model has this version
├── InvalidTraffic          the variants cannot be asked in this way
├── UnknownEntity           the store has no features of this key
├── FeaturesUnavailable     features cannot be looked up or written now
├── UnknownPrediction       no record has this id
├── OutcomeConflict         another outcome was reported for this prediction
├── RecordsUnavailable      the records cannot be read or written
├── ModelNotReady           no verified model is loaded
├── UntrustedArtifact       an artifact failed a check; it is not used
├── VersionExists           a registered version is immutable
├── Outpaced                another process changed the champion first
├── RegistryUnavailable     the history of the champions cannot be read or written
├── Forbidden               the caller may not do this
├── NothingToJudge          too few rows are new to the champion for a verdict
├── ContractChanged         the champion was made for other features, units or target
├── UnusableTable           a table cannot be trained on
└── InvalidSetting          an environment variable has a wrong value
"""

from dataclasses import dataclass


class ServiceError(Exception):
    """The root: everything this service refuses on purpose."""


@dataclass(frozen=True)
class Violation:
    """One broken rule: where (a JSON Pointer, a field, a row) and what the rule says."""

    pointer: str
    field: str
    row: int | None
    rule: str
    message: str


class InvalidInput(ServiceError):
    """The request breaks the declared schema."""

    def __init__(self, violations: list[Violation], total: int) -> None:
        self.violations = violations
        self.total = total
        shown = "; ".join(f"{_place(v)}: {v.message}" for v in violations[:3])
        rest = f"; and {total - 3} more" if total > 3 else ""
        super().__init__(shown + rest)


class MalformedBody(ServiceError):
    """The body is not JSON."""


class BodyTooLarge(ServiceError):
    """The body is larger than the service reads."""


class BodyTooSlow(ServiceError):
    """The body did not arrive in time."""


class UnsupportedMediaType(ServiceError):
    """The body is not declared as something the route reads."""


class NotAcceptable(ServiceError):
    """The route writes no format that the caller accepts."""


class UnsupportedConfidence(ServiceError):
    """The model's calibration rows are too few for the level that was asked for."""


class UnknownVersion(ServiceError):
    """No registered model has this version."""


class InvalidTraffic(ServiceError):
    """The variants that were wished for break a rule, which the message names."""


class UnknownEntity(ServiceError):
    """The store has no features of this key; names the first few and their rows."""


class FeaturesUnavailable(ServiceError):
    """Features cannot be looked up, or written, now; asking again later may help."""


class UnknownPrediction(ServiceError):
    """No prediction was recorded under this id; names the first few and their rows."""


class OutcomeConflict(ServiceError):
    """A prediction has one outcome; another value was reported before, or in the same request."""


class RecordsUnavailable(ServiceError):
    """The records cannot be read or written now; asking again later may help."""


class ModelNotReady(ServiceError):
    """No verified model is loaded yet."""


class UntrustedArtifact(ServiceError):
    """An artifact is damaged, altered or does not reproduce its own answers."""


class VersionExists(ServiceError):
    """A registered version is immutable and holds something else."""


class Outpaced(ServiceError):
    """Another process changed the champion, or is about to; nothing was changed by this one."""


class RegistryUnavailable(ServiceError):
    """The history of the champions cannot be read or written."""


class Forbidden(ServiceError):
    """The caller's key is missing, wrong, or no key was set up."""


class NothingToJudge(ServiceError):
    """Too few rows are new to the champion for a verdict."""


class ContractChanged(ServiceError):
    """The champion was made for other features, units or target than are declared today."""


class UnusableTable(ServiceError):
    """A table that cannot be trained on: unreadable, empty, constant, or mostly bad rows."""


class InvalidSetting(ServiceError):
    """An environment variable, or a line of `.env`, has a wrong value."""


def _place(violation: Violation) -> str:
    row = "" if violation.row is None else f"row {violation.row}, "
    return f"{row}{violation.field or 'body'}"
