"""Makes sure an image is there: by pull policy, with credentials, with the events a user looks for.

In: a container and its pod. Out: the image, or `StartError` with upstream's reason. Several pods that wait for one image share one
pull. Upstream's counterpart is pkg/kubelet/images; the back-off after a failed pull is the pod machine's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from navarch.api.core import v1
from navarch.cri.client import Client, CriError, Image
from navarch.cri.proto import Message
from navarch.kubelet.core import images
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
    """Pulls images through CRI."""

    def __init__(self, cri: Client) -> None:
        self._cri = cri
        self._slots = asyncio.Semaphore(PARALLEL_PULLS)
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, name: str, policy: str, secrets: Sequence[v1.Secret], sandbox_config: Message | None, tell: Tell) -> Image:
        """The image by this name, pulled when policy or absence asks for it. Raises `StartError`."""
        try:
            full = images.with_tag(name)
        except images.BadName as error:
            message = f'Failed to apply default image tag "{name}": {error}'
            tell("Warning", "InspectFailed", message)
            tell("Warning", "Failed", "Error: InvalidImageName")
            raise StartError("InvalidImageName", message) from None
        if policy != "Always":
            present = await self._present(full, tell)
            if present is not None:
                tell("Normal", "Pulled", f'Container image "{name}" already present on machine and can be accessed by the pod')
                return present
            if policy == "Never":
                message = f'Container image "{name}" is not present with pull policy of Never'
                tell("Warning", "ErrImageNeverPull", message)
                tell("Warning", "Failed", "Error: ErrImageNeverPull")
                raise StartError("ErrImageNeverPull", message)
        return await self._pull(name, full, secrets, sandbox_config, tell)

    async def _present(self, full: str, tell: Tell) -> Image | None:
        try:
            return await self._cri.image_status(full)
        except CriError as error:
            message = f'Failed to inspect image "": {error}'
            tell("Warning", "InspectFailed", message)
            raise StartError("ImageInspectError", message) from None

    async def _pull(self, name: str, full: str, secrets: Sequence[v1.Secret], sandbox_config: Message | None, tell: Tell) -> Image:
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        asked = time.monotonic()
        lock = self._locks.setdefault(full, asyncio.Lock())
        async with lock, self._slots:
            began = time.monotonic()
            try:
                await self._try_logins(full, secrets, sandbox_config)
                image = await self._cri.image_status(full)
            except CriError as error:
                tell("Warning", "Failed", f'Failed to pull image "{name}": {error}')
                tell("Warning", "Failed", "Error: ErrImagePull")
                raise StartError("ErrImagePull", str(error)) from None
        if not lock.locked():
            self._locks.pop(full, None)
        if image is None:
            raise StartError("ErrImagePull", f'image "{name}" was pulled and is not there')
        took, waited = time.monotonic() - began, time.monotonic() - asked
        times = f"{_go(took)} ({_go(waited)} including waiting)"
        tell("Normal", "Pulled", f'Successfully pulled image "{name}" in {times}. Image size: {image.size} bytes.')
        return image

    async def _try_logins(self, full: str, secrets: Sequence[v1.Secret], sandbox_config: Message | None) -> None:
        logins = images.matching(images.credentials(secrets), full)
        if not logins:
            await self._cri.pull_image(full, None, sandbox_config)
            return
        for index, login in enumerate(logins):
            try:
                await self._cri.pull_image(full, {"username": login.username, "password": login.password}, sandbox_config)
                return
            except CriError:
                if index == len(logins) - 1:
                    raise


def _go(seconds: float) -> str:
    """A short duration as Go prints it."""
    return f"{seconds:.3f}s" if seconds >= 1 else f"{round(seconds * 1000)}ms"
