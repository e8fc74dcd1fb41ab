"""Our service beside a plain one, asked in turn over real connections: the ratio of their speeds.

The plain one is what tutorials build: a pydantic body, a DataFrame of one row, scikit-learn's
`predict` of a forest and of two quantile models for its interval. `make bench-serving` prints
requests a second of both in several rounds, and the median ratio; rounds alternate, because the
speed of a machine drifts. Ours records every answer on disk before it replies, unless RECORDS says
otherwise.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from fastapi import FastAPI

from cli.server import ROOT, free_port, stop, wait_until_live
from problems.housing import HOUSING, simulate

BODY = json.dumps(HOUSING.schema.example).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
CONNECTIONS = 16


def plain_app() -> FastAPI:
    """The service to compare with; run by uvicorn as a factory, in a process of its own."""
    import pandas as pd
    from pydantic import BaseModel
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

    columns = pd.DataFrame(simulate(20_000, 0))
    features, price = columns[list(HOUSING.schema.names)], columns["price"]
    model = RandomForestRegressor(random_state=0, n_jobs=1).fit(features, price)
    low, high = (
        HistGradientBoostingRegressor(loss="quantile", quantile=q).fit(features, price)
        for q in (0.05, 0.95)
    )
    app = FastAPI()

    class House(BaseModel):
        square_feet: float
        bedrooms: float
        bathrooms: float
        age_years: float
        distance_to_city: float

    @app.get("/live")
    def live() -> dict[str, str]:
        return {"status": "live"}

    @app.post("/predict")
    def predict(house: House) -> dict[str, object]:
        row = pd.DataFrame([house.model_dump()])
        interval = {"lower": float(low.predict(row)[0]), "upper": float(high.predict(row)[0])}
        return {
            "predicted_price": float(model.predict(row)[0]),
            "confidence_interval": interval,
            "model_version": "v1.0.0",
        }

    return app


@contextmanager
def served(*target: str) -> Iterator[int]:
    """A uvicorn process on a free port, with one worker and no access log."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", *target, "--port", str(port), "--no-access-log"]
    with tempfile.TemporaryDirectory() as data:
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": data},
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            wait_until_live(f"http://127.0.0.1:{port}", process)
            yield port
        finally:
            stop(process)


async def rate(port: int, seconds: float) -> float:
    """Requests a second over CONNECTIONS kept-alive connections; any refusal ends the run."""
    end = time.perf_counter() + seconds

    async def keep_asking() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        while time.perf_counter() < end:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
            answered += 1
        writer.close()
        return answered

    start = time.perf_counter()
    answered = await asyncio.gather(*(keep_asking() for _ in range(CONNECTIONS)))
    return sum(answered) / (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.serving --rounds 5 --seconds 3",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often both are asked")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long, each time")
    arguments = parser.parse_args()
    ratios = []
    plain = served("benchmarks.serving:plain_app", "--factory")
    with served("app.main:app") as ours, plain as other:
        for number in range(1, arguments.rounds + 1):
            fast, slow = (asyncio.run(rate(p, arguments.seconds)) for p in (ours, other))
            ratios.append(fast / slow)
            print(f"round {number}: ours {fast:,.0f}/s, plain {slow:,.0f}/s, x{fast / slow:.1f}")
    print(f"median ratio: x{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
