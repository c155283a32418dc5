"""Makes sure an image is there: by pull policy, with credentials, with the events a user looks for.

In: a container and its pod. Out: the image, or `StartError` with upstream's reason. An image on the node is not for every pod: who has
no credentials of those it was pulled with pulls again. Several pods that wait for one image pull it one after the other. Upstream's
counterpart is pkg/kubelet/images; the back-off after a failed pull is the pod machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from navarch.api.core import v1
from navarch.cri.client import Client, CriError, Image
from navarch.cri.proto import Message
from navarch.kubelet import image_records
from navarch.kubelet.core import image_access, images
from navarch.kubelet.core.model import ContainerView

PARALLEL_PULLS = 4

Tell = Callable[[str, str, str], None]
"""Records an event about the container: type, reason, message."""


class StartError(Exception):
    """A container could not be started; `reason` is what its status shows. `view` is what is left of it in the runtime."""

    def __init__(self, reason: str, message: str, view: ContainerView | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.view = view


class Puller:
    """Pulls images through CRI. `rules` say of which images a pod must show that it may use them."""

    def __init__(self, cri: Client, records: image_records.Records, rules: image_access.Rules) -> None:
        self._cri = cri
        self._records = records
        self._rules = rules
        self._slots = asyncio.Semaphore(PARALLEL_PULLS)
        self._locks: dict[str, asyncio.Lock] = {}

    async def settle(self) -> None:
        """Takes images whose pull the last kubelet began for pulled by it, with nobody's credentials. CriError without a runtime."""
        intents = set(self._records.intents())
        for image in await self._cri.list_images() if intents else ():
            for name in intents & {*image.tags, *image.digests}:
                if self._records.get(image.id) is None:
                    self._records.put(image_access.Pulled(image.id))
                self._records.settle(name)

    async def ensure(self, name: str, policy: str, secrets: Sequence[v1.Secret], sandbox_config: Message | None, tell: Tell) -> Image:
        """The image by this name, pulled when policy, absence or a pod without access asks for it. Raises `StartError`."""
        try:
            full = images.with_tag(name)
        except images.BadName as error:
            message = f'Failed to apply default image tag "{name}": {error}'
            tell("Warning", "InspectFailed", message)
            tell("Warning", "Failed", "Error: InvalidImageName")
            raise StartError("InvalidImageName", message) from None
        logins = images.matching(images.credentials(secrets), full)
        if policy != "Always":
            present = await self._present(full, tell)
            if present is not None and self._may_use(full, present, [login.secret for login in logins if login.secret is not None]):
                tell("Normal", "Pulled", f'Container image "{name}" already present on machine and can be accessed by the pod')
                return present
            if policy == "Never":
                message = f'Container image "{name}" is not present with pull policy of Never'
                tell("Warning", "ErrImageNeverPull", message)
                tell("Warning", "Failed", "Error: ErrImageNeverPull")
                raise StartError("ErrImageNeverPull", message)
        return await self._pull(name, full, logins, sandbox_config, tell)

    def _may_use(self, full: str, image: Image, secrets: Sequence[image_access.Secret]) -> bool:
        """Whether a pod with these secrets may use an image that is on the node, without asking the registry."""
        record = self._records.get(image.id)
        pulled_by_kubelet = record is not None or self._records.intended(full)
        if not self._rules.verifies(full, pulled_by_kubelet):
            return True
        if record is None or image_access.must_pull(record, full, secrets):
            return False
        if more := image_access.worth_adding(record, full, secrets):
            self._records.put(image_access.with_access(record, full, image_access.Access(secrets=more)))
        return True

    async def _present(self, full: str, tell: Tell) -> Image | None:
        try:
            return await self._cri.image_status(full)
        except CriError as error:
            message = f'Failed to inspect image "": {error}'
            tell("Warning", "InspectFailed", message)
            raise StartError("ImageInspectError", message) from None

    async def _pull(self, name: str, full: str, logins: Sequence[images.Credential], sandbox_config: Message | None, tell: Tell) -> Image:
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        asked = time.monotonic()
        lock = self._locks.setdefault(full, asyncio.Lock())
        async with lock, self._slots:
            began = time.monotonic()
            try:
                image = await self._pull_recorded(full, logins, sandbox_config)
            except (CriError, OSError) as error:
                tell("Warning", "Failed", f'Failed to pull image "{name}": {error}')
                tell("Warning", "Failed", "Error: ErrImagePull")
                raise StartError("ErrImagePull", str(error)) from None
            finally:
                self._locks.pop(full, None)
        if image is None:
            raise StartError("ErrImagePull", f'image "{name}" was pulled and is not there')
        took, waited = time.monotonic() - began, time.monotonic() - asked
        times = f"{_go(took)} ({_go(waited)} including waiting)"
        tell("Normal", "Pulled", f'Successfully pulled image "{name}" in {times}. Image size: {image.size} bytes.')
        return image

    async def _pull_recorded(self, full: str, logins: Sequence[images.Credential], sandbox_config: Message | None) -> Image | None:
        """Pulls, and notes with whose credentials that worked."""
        interrupted = self._records.intended(full)
        self._records.intend(full)
        try:
            used = await self._try_logins(full, logins, sandbox_config)
        except CriError:
            if not interrupted:
                # Otherwise a pull of the last kubelet may have brought the image: nobody may use it unasked.
                self._records.settle(full)
            raise
        image = await self._cri.image_status(full)
        if image is not None:
            access = image_access.Access(everybody=True) if used is None else image_access.Access(secrets=(used,))
            record = self._records.get(image.id) or image_access.Pulled(image.id)
            self._records.put(image_access.with_access(record, full, access))
        self._records.settle(full)
        return image

    async def _try_logins(self, full: str, logins: Sequence[images.Credential], sandbox_config: Message | None) -> image_access.Secret | None:
        """Pulls with each login in turn; the secret of the one that worked, None when none was needed."""
        if not logins:
            await self._cri.pull_image(full, None, sandbox_config)
            return None
        for login in logins[:-1]:
            with contextlib.suppress(CriError):
                await self._cri.pull_image(full, {"username": login.username, "password": login.password}, sandbox_config)
                return login.secret
        last = logins[-1]
        await self._cri.pull_image(full, {"username": last.username, "password": last.password}, sandbox_config)
        return last.secret

    async def prune(self, present: Sequence[Image], since: float) -> None:
        """Forgets who may use images that are gone; `present` were there at `since`."""
        await asyncio.to_thread(self._records.prune, {image.id for image in present}, since)


def _go(seconds: float) -> str:
    """A short duration as Go prints it."""
    return f"{seconds:.3f}s" if seconds >= 1 else f"{round(seconds * 1000)}ms"
