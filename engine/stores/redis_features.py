"""The features of keys in Redis: for each key one sorted set, read whole by people and in part by
the service.

A member is a time and a row, `2026-11-01T00:00:00.000Z {"items":3}`, and all have the same score:
Redis keeps them in the order of their text, which is the order of time.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from engine.domain.errors import FeaturesUnavailable, InvalidSetting
from engine.domain.features import Features
from engine.domain.schema import Row
from engine.stores.features import dumped, loaded, nothing_kept

SILENT_SECONDS = 2.0
"""A server that does not answer for this long is given up; the URL may set another limit."""


class RedisFeatures:
    """Nothing is retried: the caller has a fallback, and the next request connects again."""

    def __init__(self, url: str) -> None:
        try:
            self._redis = Redis.from_url(
                url,
                socket_timeout=SILENT_SECONDS,
                socket_connect_timeout=SILENT_SECONDS,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise InvalidSetting(f"FEATURES_URL: {error}") from error

    def get(self, problem: str, keys: Sequence[str], at: str) -> Mapping[str, Row]:
        names = [*dict.fromkeys(keys)]
        with _outages(), self._redis.pipeline(transaction=False) as pipeline:
            for key in names:
                pipeline.zrevrangebylex(_name(problem, key), _behind(at), "-", 0, 1)
            pipeline.exists(_index(problem))
            *members, is_kept = pipeline.execute()
        if keys and not is_kept:
            raise nothing_kept(problem)
        return {
            key: _features(key, found[0]).row
            for key, found in zip(names, members, strict=True)
            if found
        }

    def history(self, problem: str, keys: Sequence[str]) -> Iterator[Features]:
        names = [*dict.fromkeys(keys)]
        with _outages(), self._redis.pipeline(transaction=False) as pipeline:
            for key in names:
                pipeline.zrange(_name(problem, key), 0, -1)
            members = pipeline.execute()
        for key, found in zip(names, members, strict=True):
            yield from (_features(key, member) for member in found)

    def put(self, problem: str, features: Sequence[Features]) -> int:
        """One transaction: a server that is full refuses it whole."""
        said = dumped(features)
        if not said:
            return 0
        with _outages(), self._redis.pipeline(transaction=True) as pipeline:
            for (key, at), text in said.items():
                name = _name(problem, key)
                pipeline.zremrangebylex(name, f"[{at} ", _behind(at))
                pipeline.zadd(name, {f"{at} {text}": 0})
            pipeline.sadd(_index(problem), *{_bytes(key) for key, _ in said})
            removed = pipeline.execute()[:-1:2]
        return len(said) - int(sum(removed))

    def count(self, problem: str) -> int:
        with _outages():
            return int(self._redis.scard(_index(problem)))

    def close(self) -> None:
        self._redis.close()


def _index(problem: str) -> str:
    """A set of all keys: counting them is cheap."""
    return f"features:{problem}"


def _name(problem: str, key: str) -> bytes:
    return f"features:{problem}:".encode() + _bytes(key)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _behind(at: str) -> str:
    """The bound after all that is known at `at`: "!" is what follows a space."""
    return f"({at}!"


def _features(key: str, member: bytes) -> Features:
    at, _, text = member.partition(b" ")
    return Features(key, at.decode(), loaded(text, key))


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        reason = str(error).split("\n")[0].split(" caused error: ")[-1]  # the key is before it
        raise FeaturesUnavailable(f"the features cannot be used: {reason}") from error
