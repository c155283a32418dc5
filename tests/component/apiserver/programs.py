"""Programs that others wrote, run against a server of a test: every kubectl and the Helm that are on the PATH."""

from __future__ import annotations

import asyncio
import os
import pathlib
from dataclasses import dataclass


def every(name: str) -> list[str]:
    """The programs of a name in all folders of the PATH, links to the same one once."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    found = (pathlib.Path(folder, name) for folder in folders if folder)
    return list({str(path.resolve()): str(path) for path in found if os.access(path, os.X_OK) and path.is_file()}.values())


@dataclass(frozen=True)
class Program:
    """A command line tool that reads a kubeconfig. Called, it returns what was printed; `fails` returns what it complained of."""

    path: str
    kubeconfig: pathlib.Path
    namespace: str

    async def run(self, *words: str, stdin: str = "") -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            self.path, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *words,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "HOME": str(self.kubeconfig.parent)},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return process.returncode or 0, out.decode()

    async def __call__(self, *words: str, stdin: str = "") -> str:
        code, out = await self.run(*words, stdin=stdin)
        assert code == 0, f"{self.path} {' '.join(words)}: {out}"
        return out

    async def fails(self, *words: str, stdin: str = "") -> str:
        code, out = await self.run(*words, stdin=stdin)
        assert code != 0, f"{self.path} {' '.join(words)} succeeded: {out}"
        return out
