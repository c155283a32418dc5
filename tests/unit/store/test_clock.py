"""Store time: it passes with time and does not follow a clock that is set."""

from __future__ import annotations

from navarch.store.clock import Clock, Offset, noted, store_time

HOUR = 3600_000


def test_setting_the_clock_does_not_move_store_time() -> None:
    wall, passed = [1_000.0], [50.0]
    clock = Clock(1_000_000, lambda: wall[0], lambda: passed[0])
    assert clock.now() == 1_000_000
    wall[0] += 26 * 3600
    passed[0] += 5
    assert (clock.now(), clock.ahead()) == (1_005_000, 26 * HOUR - 5000)


def test_wall_times_are_found_again_over_jumps() -> None:
    offsets = noted([Offset(0, 0)], 1_000_000, 0, 0)
    assert offsets == [Offset(0, 0)]
    offsets = noted(offsets, 1_000_000, 26 * HOUR, 0)
    offsets = noted(offsets, 2_000_000, 500, 0)
    assert offsets == [Offset(0, 0), Offset(1_000_000, 26 * HOUR), Offset(2_000_000, 500)]
    assert store_time(offsets, 900_000) == 900_000
    assert store_time(offsets[:2], 1_500_000 + 26 * HOUR) == 1_500_000
    assert store_time(offsets, 2_700_500) == 2_700_000
    # Shown by the clock neither before the jump nor after it came back.
    assert store_time(offsets, 1_500_000) == 1_000_000


def test_offsets_are_bounded_and_forgotten_with_history() -> None:
    offsets = [Offset(0, 0)]
    for n in range(1, 500):
        offsets = noted(offsets, n * 1000, n * 10_000, 0)
    assert len(offsets) == 64
    assert noted(offsets, 500_000, 499 * 10_000, 498_500) == [Offset(498_000, 4_980_000), Offset(499_000, 4_990_000)]
