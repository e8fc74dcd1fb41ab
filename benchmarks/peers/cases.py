"""What is asked of every server: how many rows in a request, over how many connections."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A server that has no face for `layout` (the shape of the body) is left out of the case."""

    rows: int
    connections: int
    layout: str = "rows"

    @property
    def name(self) -> str:
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        ways = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        return f"{rows}, {ways}" + ("" if self.layout == "rows" else f", {self.layout}")


ONE_ALONE = Case(1, 1)
ONE_OF_MANY = Case(1, 16)
HUNDRED = Case(100, 4)
THOUSAND = Case(1_000, 2)
CASES = (ONE_ALONE, ONE_OF_MANY, HUNDRED, THOUSAND)
WORKER_CASES = (ONE_OF_MANY, HUNDRED)
