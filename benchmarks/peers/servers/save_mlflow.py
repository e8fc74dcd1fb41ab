"""Saves the model for `mlflow models serve`; runs in the environment of MLflow."""

import os
import shutil

import joblib
import mlflow.sklearn

_TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"

if __name__ == "__main__":
    shutil.rmtree("model", ignore_errors=True)
    model = joblib.load(os.environ["MODEL"])
    mlflow.sklearn.save_model(model, "model", skops_trusted_types=[_TREES])
