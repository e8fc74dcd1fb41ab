"""People who ask about houses, and the roll-out that looks at what they were answered."""

from datetime import UTC, datetime, timedelta
from itertools import count

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.ports import Records
from engine.domain.prediction import Prediction
from engine.domain.record import CHAMPION, Outcome, Record
from engine.domain.times import written
from engine.domain.version import Version
from engine.model.model import serve
from engine.watching.controller import RolloutController
from engine.watching.rollout import Step
from problems.housing import HOUSING, simulate
from tests.blocks import put

FIRST, CANDIDATE = Version.parse("v1.0.0"), Version.parse("v1.1.0-rc.1")
STEPS = ["rollout shadow", "rollout canary 1 %", "rollout canary 10 %", "rollout canary 50 %"]
MANY = count()


class Callers:
    """Houses that are asked about: both models really answer, assigned as the traffic says."""

    def __init__(
        self, controller: RolloutController, records: Records, artifacts: list[Artifact]
    ) -> None:
        self.controller, self.records = controller, records
        self.models = [serve(artifact, HOUSING, loaded_at="") for artifact in artifacts]

    def ask(
        self,
        rows: int,
        *,
        sold: bool = True,
        candidate_times: float = 1.0,
        market_times: float = 1.0,
        unit: str | None = None,
    ) -> None:
        """`candidate_times` stands for a market in which the candidate is that far off,
        `market_times` for one in which prices are that much higher."""
        columns = dict(simulate(rows, 500 + next(MANY)))
        price = columns.pop("price")
        houses = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        matrix = HOUSING.schema.encode(houses)
        traffic = history.traffic(self.controller.champion.history())
        said = [model.predict(matrix, DEFAULT_CONFIDENCE) for model in self.models]
        found, outcomes = [], []
        for number, house in enumerate(houses):
            one = f"{next(MANY):032x}-0"
            row = {name: float(value) for name, value in house.items()}
            mine = traffic.version_for(matrix[number].tobytes())
            roles = [CANDIDATE] if mine else [FIRST]
            if traffic.shadows:
                roles = [FIRST, CANDIDATE]
            for version in roles:
                is_first = version == FIRST
                variant = CHAMPION if is_first else traffic.variants[0].mode
                answer, times = said[not is_first], 1.0 if is_first else candidate_times
                asked = Record(
                    one,
                    written(datetime.now(UTC)),
                    "housing",
                    str(version),
                    variant,
                    row,
                    *told(answer, number, times),
                    DEFAULT_CONFIDENCE,
                    "tests",
                    unit=unit,
                    latency_us=100.0 + number % 7,
                )
                found.append(asked)
            truth = float(price[number] * market_times)
            outcomes.append(Outcome(one, truth, written(datetime.now(UTC))))
        put(self.records, found)
        if sold:
            self.records.label("housing", outcomes)


def told(answer: Prediction, row: int, times: float) -> tuple[float, float, float]:
    """The value and its bounds, in a world in which they are so many times what they were."""
    interval = answer.interval
    value, lower, upper = (
        one[row] * times for one in (answer.values, interval.lower, interval.upper)
    )
    return float(value), float(lower), float(upper)


def look(controller: RolloutController, records: Records, *, clock_behind: float = 0) -> Step:
    return controller.step(records, written(datetime.now(UTC) - timedelta(seconds=clock_behind)))


def actions(controller: RolloutController) -> list[str]:
    return [event.action for event in controller.champion.history()]
