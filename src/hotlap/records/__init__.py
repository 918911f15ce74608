"""The records that travel between the stages, all frozen.

They are standard-library dataclasses so that the user's process can build them; the parent reads and writes them
through msgspec. Units are in the field names: `_s` seconds, `_bytes`, `_share` a fraction of one.
"""

from hotlap.records.facts import BEFORE_CLIPPING, OPAQUE, Facts, Loader, Machine, Optimizer, Precision, Root, Signature
from hotlap.records.race import DIVERGED, NON_FINITE, OUT_OF_TIME, Raced
from hotlap.records.result import Curve, Finding, Gate, Kept, Pair, Phases, Rejected, Result, Verdict, Verification
from hotlap.records.seen import Seen
from hotlap.records.trial import AS_WRITTEN, Recording, Setting, Setup, Steps, Trial
from hotlap.records.words import PHASES, SCHEMA, Contract, Estimate, Goal, Outcome, Skip, Status, Value, Word

__all__ = [
    "AS_WRITTEN",
    "BEFORE_CLIPPING",
    "DIVERGED",
    "NON_FINITE",
    "OPAQUE",
    "OUT_OF_TIME",
    "PHASES",
    "SCHEMA",
    "Contract",
    "Curve",
    "Estimate",
    "Facts",
    "Finding",
    "Gate",
    "Goal",
    "Kept",
    "Loader",
    "Machine",
    "Optimizer",
    "Outcome",
    "Pair",
    "Phases",
    "Precision",
    "Raced",
    "Recording",
    "Rejected",
    "Result",
    "Root",
    "Seen",
    "Setting",
    "Setup",
    "Signature",
    "Skip",
    "Status",
    "Steps",
    "Trial",
    "Value",
    "Verdict",
    "Verification",
    "Word",
]
