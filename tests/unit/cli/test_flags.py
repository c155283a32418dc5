"""Flags from declarations."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from navarch.cli import flags, main


@dataclass(frozen=True, slots=True)
class Example:
    kubeconfig: str
    secure_port: int = 6443
    period: float = 1.0
    masquerade_all: bool = False
    ranges: tuple[str, ...] = ()
    dns: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    optional: int | None = None


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--secure-port", "7443"], "secure_port", 7443),
        (["--secure-port=7443"], "secure_port", 7443),
        (["--masquerade-all"], "masquerade_all", True),
        (["--masquerade-all=false"], "masquerade_all", False),
        (["--period", "1m30s"], "period", 90.0),
        (["--period=250ms"], "period", 0.25),
        (["--period=5"], "period", 5.0),
        (["--ranges", "a,b", "--ranges=c"], "ranges", ("a", "b", "c")),
        (["--dns=10.96.0.10"], "dns", ("10.96.0.10",)),
        (["--labels", "a=b,c=d"], "labels", {"a": "b", "c": "d"}),
        (["--optional=3"], "optional", 3),
    ],
)
def test_forms(words: list[str], name: str, value: object) -> None:
    options, _ = flags.parse(Example, ["--kubeconfig=x", *words])
    assert getattr(options, name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required flag not set: --kubeconfig"),
        (["--kubeconfig"], "flag needs an argument: --kubeconfig"),
        (["--kubeconfig=x", "--nope"], "unknown flag: --nope"),
        (["--kubeconfig=x", "word"], "unexpected argument: word"),
        (["--kubeconfig=x", "--secure-port=abc"], 'invalid argument "abc" for "--secure-port" flag'),
        (["--kubeconfig=x", "--period=5 apples"], 'invalid argument "5 apples" for "--period" flag: no duration'),
        (["--kubeconfig=x", "--masquerade-all=maybe"], "neither true nor false"),
    ],
)
def test_refusals(words: list[str], message: str) -> None:
    with pytest.raises(flags.FlagError, match=message.replace("(", r"\(")):
        flags.parse(Example, words)


def test_common_flags_come_apart() -> None:
    _, extra = flags.parse(Example, ["--kubeconfig=x", "-v", "4"], {"v": int})
    assert extra == {"v": 4}


def test_every_command_can_be_imported() -> None:
    import importlib

    for name, command in main.COMMANDS.items():
        module, _, function = command.target.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_unknown_commands_and_plain_failures(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    assert main.main(["fly"]) == 1
    assert "unknown command" in capsys.readouterr().err
    assert main.main(["kubeconfig", f"--data-dir={tmp_path}"]) == 1
    assert "there is no cluster" in capsys.readouterr().err
    assert main.main(["status", f"--data-dir={tmp_path}"]) == 1
    assert main.main(["proxy", "--nonsense"]) == 1
    assert "unknown flag: --nonsense" in capsys.readouterr().err


def test_help_is_quick() -> None:
    def once() -> float:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "navarch.cli.main", "--help"], capture_output=True, text=True, check=True)
        assert "navarch up" not in done.stderr and "up" in done.stdout
        return time.perf_counter() - began

    assert min(once() for _ in range(3)) < 0.15


def test_plain_words_may_stand_among_flags() -> None:
    @dataclass(frozen=True)
    class Mixed:
        data_dir: str = "d"
        wipe: bool = False

    for words in (["a", "--data-dir", "x", "b", "--wipe"], ["--wipe", "--data-dir=x", "a", "b"]):
        assert flags.parse_mixed(Mixed, words) == (Mixed("x", True), ["a", "b"])
    with pytest.raises(flags.FlagError, match="flag needs an argument: --data-dir"):
        flags.parse_mixed(Mixed, ["a", "--data-dir"])
    with pytest.raises(flags.FlagError, match="unknown flag: --other"):
        flags.parse_mixed(Mixed, ["--other"])
