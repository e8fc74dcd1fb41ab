"""Owner of the running state: one replaceable deployment of verified versions."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.errors import (
    ModelNotReady,
    RegistryUnavailable,
    ServiceError,
    UnknownVersion,
    UntrustedArtifact,
)
from engine.domain.ports import Artifacts, Champion
from engine.domain.problem import Problem
from engine.domain.record import CHAMPION
from engine.domain.times import written
from engine.domain.traffic import ALONE, Variant, VariantRequest
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.model.model import Model, refuse_other_contract, serve
from engine.serving.deployment import Deployment, VariantModel

_WHO = "HTTP"
_PINNED_MODELS = 4
"""How many versions besides those deployed stay in memory for `?model_version=`."""


def now() -> str:
    """The time in UTC as ISO 8601 with milliseconds."""
    return written(datetime.now(UTC))


class _Listener(Protocol):
    """Is called when a new deployment answers, and when one is refused, with the reason."""

    def model_loaded(self, problem: str, version: str, variants: Mapping[str, str]) -> None: ...

    def model_refused(self, problem: str, reason: str) -> None: ...


class Live:
    """Follows the history; a request reads `deployment()` once and keeps what it got.

    `registered` is the champion's pointer and its history, `train_command` what a person types to
    train a model of the problem.
    """

    def __init__(
        self,
        problem: Problem,
        registered: Champion,
        artifacts: Artifacts,
        *,
        train_command: str,
        listener: _Listener,
    ) -> None:
        self.problem = problem
        self.registered = registered
        self.started = monotonic()
        self.refusal = (
            f"no model of {problem.name} yet: {registered.place} does not exist; "
            f"{train_command} makes it"
        )
        self._artifacts = artifacts
        self._train_command = train_command
        self._listener = listener
        self._current: Deployment | None = None
        self._revision: Hashable | None = None
        self._loading = asyncio.Lock()
        self._pinned: OrderedDict[Version, Model] = OrderedDict()

    def deployment(self) -> Deployment:
        """Raises ModelNotReady, with the reason, until a verified champion is loaded."""
        if self._current is None:
            raise ModelNotReady(self.refusal)
        return self._current

    def champion(self) -> Model:
        """Raises ModelNotReady likewise."""
        model = self.deployment().champion.model
        assert model is not None  # noqa: S101 - a deployment is made of a champion that is served
        return model

    @property
    def doubt(self) -> str:
        """What did not hold of a champion that a person accepted all the same; usually empty."""
        if self._current is None or self.champion().card.shortfall is None:
            return ""
        return f"{self.loaded_version()} was accepted although {self.champion().card.shortfall}"

    def loaded_version(self) -> str | None:
        return None if self._current is None else str(self._current.champion.version)

    async def pinned(self, text: str) -> Deployment:
        """A registered version; raises UnknownVersion, or UntrustedArtifact if it may not serve."""
        version = Version.parse(text)
        current = self.deployment()
        for arm in (current.champion, *current.variants):
            if arm.version == version and arm.model is not None:
                return Deployment.pinned(arm.model)
        async with self._loading:
            if version not in self._pinned:
                self._pinned[version] = await asyncio.to_thread(self._load, version)
            self._pinned.move_to_end(version)
            if len(self._pinned) > _PINNED_MODELS:
                self._pinned.popitem(last=False)
            return Deployment.pinned(self._pinned[version])

    def place(self, version: str) -> str:
        """Where a version is kept; the champion has a place of its own."""
        if version == self.loaded_version():
            return self.registered.place
        return self._artifacts.place(self.problem.name, Version.parse(version))

    def at_place(self, path: str) -> Version:
        """The version that is kept at a path as `place` tells it; no other file is ever looked at.

        Raises UnknownVersion.
        """
        for version in map(Version.parse, self.versions()):
            if path in {
                self.place(str(version)),
                self._artifacts.place(self.problem.name, version),
            }:
                return version
        raise UnknownVersion(f"no registered version of {self.problem.name} has this path")

    def versions(self) -> list[str]:
        """What `?model_version=` can name, in semantic order."""
        known = set(self._servable())
        if self._current is not None:
            known.add(self._current.champion.version)
        return [str(version) for version in sorted(known)]

    def _servable(self) -> list[Version]:
        past = self.registered.history()
        return history.servable(past, self._artifacts.versions(self.problem.name))

    async def follow(self, every_seconds: float) -> None:
        """Look for a new champion or other traffic, again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception as error:  # unforeseen: reported like a refusal, and tried again
                self._revision = None
                self._refuse(f"the watch over the champion failed: {error!r}")

    def refresh(self) -> None:
        """Deploy what changed; a champion that fails a check never replaces one that works.

        What was refused is looked at again each time: the reason may lie outside of the file.
        """
        try:
            revision = self.registered.revision()
        except ServiceError as error:
            self._revision = None
            if self._current is None:
                self._take(None)
            self._refuse(str(error))
            return
        if revision is None and self._current is not None:
            self._revision = None
            self._refuse(
                f"{self.registered.place} is missing; the last loaded version goes on answering"
            )
        if revision is None or revision == self._revision:
            self._mend()
            return
        self._take(revision)

    def _take(self, revision: Hashable | None) -> None:
        try:
            deployment = self._deployed()
        except ServiceError as error:
            self._refuse(str(error))
            return
        self._swap(deployment)
        self._revision = revision

    def _mend(self) -> None:
        """Look again for variants that could not be loaded."""
        current = self._current
        if current is None or not current.refusals:
            return
        arms = tuple(map(self._arm, current.traffic.variants))
        mended = replace(current, variants=arms)
        if mended.refusals != current.refusals:
            self._swap(mended)

    def _deployed(self) -> Deployment:
        """The champion with its traffic; a variant that cannot be loaded is an empty place."""
        champion = self._serve(self.registered.load())
        arm = VariantModel(Version.parse(champion.card.version), CHAMPION, champion)
        try:
            past = self.registered.history()
        except RegistryUnavailable:  # the file was champion, and answers alone
            past = []
        traffic = history.traffic(past) if history.champion(past) == arm.version else ALONE
        return Deployment(arm, tuple(map(self._arm, traffic.variants)), traffic)

    def _serve(self, champion: Artifact) -> Model:
        """Raises UntrustedArtifact, with the way out, when it may not answer."""
        refuse_other_contract(champion.card, self.problem)
        try:
            return serve(champion, self.problem, loaded_at=now())
        except UntrustedArtifact as error:
            way_out = f"{self._train_command} trains another one"
            raise UntrustedArtifact(f"{error}; {way_out}") from error

    def _arm(self, variant: Variant) -> VariantModel:
        """Versions are immutable: one that is in memory is not loaded again."""
        for arm in (self._current.champion, *self._current.variants) if self._current else ():
            if arm.version == variant.version and arm.model is not None:
                return VariantModel(variant.version, variant.mode, arm.model)
        try:
            return VariantModel(variant.version, variant.mode, self._load(variant.version))
        except ServiceError as error:
            return VariantModel(variant.version, variant.mode, None, str(error))

    def promote(self, version: Version, why: str) -> None:
        """Make a registered version champion, here at once and elsewhere at their next look.

        Raises UnknownVersion, UntrustedArtifact when it may not serve, or Outpaced.
        """
        self._load(version)
        champion = self.registered
        champion.move(
            history.Action.LOADED, version, who=_WHO, why=why, after=len(champion.history())
        )
        self.refresh()

    def set_variants(
        self, requests: Sequence[VariantRequest], why: str, revision: int | None
    ) -> None:
        """Ask these variants besides the champion, here at once, elsewhere at their next look.

        Raises what `engine.domain.variants` raises, and UntrustedArtifact when one may not serve.
        """
        for request in requests:
            self._load(request.version)
        known = self._artifacts.versions(self.problem.name)
        set_variants(self.registered, known, requests, who=_WHO, why=why, revision=revision)
        self.refresh()

    def _swap(self, deployment: Deployment) -> None:
        self._current = deployment
        self.refusal = ""
        version = str(deployment.champion.version)
        variants = {str(v.version): f"{v.mode} {v.share:g}" for v in deployment.traffic.variants}
        self._listener.model_loaded(self.problem.name, version, variants)
        if deployment.refusals:
            self._refuse("; ".join(deployment.refusals))

    def _refuse(self, reason: str) -> None:
        if reason == self.refusal:
            return
        self.refusal = reason
        self._listener.model_refused(self.problem.name, reason)

    def _load(self, version: Version) -> Model:
        if version not in self._servable():
            raise UnknownVersion(f"{self.problem.name} has no version {version}")
        artifact = self._artifacts.load(self.problem.name, version)
        return serve(artifact, self.problem, loaded_at=now())
