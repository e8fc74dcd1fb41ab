# Two images: `serve` (the default) answers requests, `train` makes the models it answers with.
# They share a user and the folder /data, where models live.

FROM python:3.13-slim AS serve-packages
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY requirements/serve.txt requirements/
RUN pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    -r requirements/serve.txt

FROM serve-packages AS train-packages
COPY requirements.txt ./
RUN pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    -r requirements.txt

FROM python:3.13-slim AS base
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && groupadd --gid 10001 service \
    && useradd --uid 10001 --gid service --no-create-home --home-dir /tmp service \
    && install -d -o service -g service /data /keys
ENV PATH=/venv/bin:$PATH \
    API_HOST=0.0.0.0 \
    API_PORT=8000 \
    DATA_DIR=/data \
    OMP_NUM_THREADS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SCRIPT_RUNNER="docker compose run --rm --entrypoint python trainer"
WORKDIR /app
# The models of the checkout, with the public keys of whoever builds the image (there may be none):
# they answer while /data has no model of its own, and nothing in a container can write to them.
COPY *_model.joblib data/trusted_key[s] ./
RUN install -d data/trusted_keys \
    && find . -maxdepth 1 -name '*.pub' -exec mv -t data/trusted_keys {} + \
    && chmod -R a+rX .

FROM base AS train
COPY --from=train-packages /venv /venv
COPY cli cli
COPY engine engine
COPY problems problems
COPY retrain.py train_model.py ./
# The key that signs models lives apart from /data: the server has no use for it.
ENV SIGNING_KEY=/keys/signing_key.pem
USER 10001:10001
ENTRYPOINT ["python"]
CMD ["train_model.py"]

FROM base AS serve
COPY --from=serve-packages /venv /venv
COPY engine/__init__.py engine/assemble.py engine/settings.py engine/
COPY engine/domain engine/domain
COPY engine/model engine/model
COPY engine/protocols engine/protocols
COPY engine/serving engine/serving
COPY engine/stores engine/stores
COPY engine/watching engine/watching
COPY problems problems
COPY app app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(\
f'http://127.0.0.1:{os.environ[\"API_PORT\"]}/ready', timeout=2)"]
CMD ["python", "-m", "app"]
