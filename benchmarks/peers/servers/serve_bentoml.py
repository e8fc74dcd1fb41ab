"""A service of BentoML, as its documentation shows for scikit-learn; runs in its environment."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service
class House:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(rows)
