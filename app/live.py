"""Owner of the running state: which verified versions answer for a problem, now."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from datetime import UTC, datetime
from time import monotonic

from pydantic import SecretStr
from structlog.typing import FilteringBoundLogger

from app.monitoring import Metrics
from engine.assemble import Stores
from engine.domain import history
from engine.domain.errors import ModelNotReady, ServiceError, UnknownVersion
from engine.domain.problem import Problem
from engine.domain.version import Version
from engine.serving.served import ServedModel, serve

PINNED_MODELS = 4
"""How many versions besides the champion stay in memory for `?model_version=`."""


def now() -> str:
    """The time in UTC as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Live:
    """Follows the champion; a request reads `champion()` once and keeps what it got."""

    def __init__(
        self,
        problem: Problem,
        stores: Stores,
        *,
        admin_key: SecretStr | None,
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        self.problem = problem
        self.stores = stores
        self.admin_key = admin_key
        self.started = monotonic()
        self.refusal = f"no model yet: {stores.champion.place} does not exist"
        self._metrics = metrics
        self._log = log
        self._current: ServedModel | None = None
        self._stamp: Hashable | None = None
        self._loading = asyncio.Lock()
        self._pinned: OrderedDict[Version, ServedModel] = OrderedDict()

    def champion(self) -> ServedModel:
        """Raises ModelNotReady, with the reason, until a verified model is loaded."""
        if self._current is None:
            raise ModelNotReady(self.refusal)
        return self._current

    def loaded_version(self) -> str | None:
        return None if self._current is None else self._current.card.version

    async def version(self, text: str) -> ServedModel:
        """A registered version; raises UnknownVersion, or UntrustedArtifact when it is damaged."""
        version = Version.parse(text)
        current = self.champion()
        if str(version) == current.card.version:
            return current
        async with self._loading:
            if version not in self._pinned:
                self._pinned[version] = await asyncio.to_thread(self._load, version)
            self._pinned.move_to_end(version)
            if len(self._pinned) > PINNED_MODELS:
                self._pinned.popitem(last=False)
            return self._pinned[version]

    def versions(self) -> list[str]:
        """What `?model_version=` can name, in semantic order."""
        known = set(self._servable())
        if self._current is not None:
            known.add(Version.parse(self._current.card.version))
        return [str(version) for version in sorted(known)]

    def _servable(self) -> list[Version]:
        past = self.stores.champion.history()
        return history.servable(past, self.stores.artifacts.versions(self.problem.name))

    async def follow(self, every_seconds: float) -> None:
        """Look for a new champion, again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception as error:  # unforeseen: told like a refusal, and looked at again
                self._stamp = None
                self._refuse(f"the watch over the champion failed: {error!r}")

    def refresh(self) -> None:
        """Load the champion if it changed; one that fails a check never replaces one that works.

        What was refused is looked at again each time: the reason may lie outside of the file.
        """
        try:
            stamp = self.stores.champion.stamp()
        except ServiceError as error:
            self._stamp = None
            if self._current is None:
                self._take(None)
            self._refuse(str(error))
            return
        if stamp is None and self._current is not None:
            self._stamp = None
            self._refuse(f"{self.stores.champion.place} is gone; the last version goes on")
        if stamp is None or stamp == self._stamp:
            return
        self._take(stamp)

    def _take(self, stamp: Hashable | None) -> None:
        try:
            served = serve(self.stores.champion.load(), self.problem, loaded_at=now())
        except ServiceError as error:
            self._refuse(str(error))
        else:
            self._stamp = stamp
            self._swap(served)

    def promote(self, version: Version, why: str) -> None:
        """Make a registered version champion, here at once and elsewhere at their next look.

        Raises UnknownVersion, UntrustedArtifact when it may not serve, or Outpaced.
        """
        self._load(version)
        champion = self.stores.champion
        champion.move("loaded", version, who="HTTP", why=why, after=len(champion.history()))
        self.refresh()

    def _swap(self, served: ServedModel) -> None:
        self._current = served
        self.refusal = ""
        self._metrics.model_loaded(self.problem.name, served.card.version)
        self._log.info("model_loaded", problem=self.problem.name, version=served.card.version)

    def _refuse(self, reason: str) -> None:
        if reason == self.refusal:
            return
        self.refusal = reason
        self._metrics.model_refused(self.problem.name)
        self._log.error("model_refused", problem=self.problem.name, reason=reason)

    def _load(self, version: Version) -> ServedModel:
        if version not in self._servable():
            raise UnknownVersion(f"{self.problem.name} has no version {version}")
        artifact = self.stores.artifacts.load(self.problem.name, version)
        return serve(artifact, self.problem, loaded_at=now())
