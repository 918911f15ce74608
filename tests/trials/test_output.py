"""Whatever a script prints is drained, and the log stays within its cap."""

from __future__ import annotations

from pathlib import Path

from hotlap.records import Outcome
from hotlap.trials.launch import Tier
from hotlap.trials.output import HEAD_BYTES, TAIL_BYTES, CappedLog

from .conftest import Place


def test_a_chatty_script_neither_blocks_nor_fills_the_disk(place: Place, tier: Tier):
    """50 MB with NULs, then one line of 20 MB without an end."""
    script = """
say("hello")
line = b"x\\0" * 499 + b"y\\n"
for _ in range(50):
    sys.stdout.buffer.write(line * 1002)
sys.stdout.buffer.write(b"z" * (20 << 20) + b"the end")
"""
    ending = place.run(script, tier=tier)
    log = (place.root / "trial-1" / "output.log").read_bytes()

    assert ending.outcome is Outcome.ENDED
    assert log.startswith(b"x\0")
    assert log.endswith(b"zzzthe end")
    assert HEAD_BYTES + TAIL_BYTES <= len(log) < HEAD_BYTES + TAIL_BYTES + (1 << 20)
    assert ending.output_tail.endswith("zzzthe end")


def test_both_streams_are_kept_in_order(place: Place):
    """As they would have come to a terminal."""
    ending = place.run("os.write(1, b'one '); os.write(2, b'two '); os.write(1, b'three')")

    assert ending.output_tail == "one two three"


def test_the_log_keeps_head_and_tail(tmp_path: Path):
    """And says how much is missing between them."""
    log = CappedLog(str(tmp_path / "log"), head=10, tail=10)
    for number in range(10):
        log.write(b"%d" % number * 5)
    log.close()

    assert (tmp_path / "log").read_bytes() == b"0000011111\n[hotlap left out 30 bytes]\n8888899999"
