"""Lower precision inside float32 matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.processor import BFLOAT16
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_KEYS = (("mkldnn", "matmul"), ("mkldnn", "conv"), ("cuda", "matmul"))


class MatmulPrecision(Knob):
    """Let float32 matrix products round their inputs to TF32 or bfloat16.

    ## What it changes
    `torch.set_float32_matmul_precision`: "high" is TF32 on CUDA, "medium" is bfloat16 inside oneDNN's products on a
    CPU, and there inside its convolutions too. Tensors stay float32, evaluation included.
    ## Why it can help
    Matrix units multiply narrow numbers several times faster.
    ## When it cannot
    A processor without bfloat16 arithmetic, models whose time is not in matrix products, or autocast, which already
    narrows the same products. On a CPU with AVX-512 but no AMX, oneDNN may keep float32 and just use another kernel.
    ## Source
    torch.set_float32_matmul_precision documentation; pytorch#116015 and #126054 (CPU), #166387 (why not the new names).
    """

    id: ClassVar[str] = "matmul-precision"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.REDUCED
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = ("high", "medium")
    unit: ClassVar[float] = 2.0**-9
    conflicts: ClassVar[tuple[str, ...]] = ("autocast-bf16", "autocast-fp16")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """One step down from what the script asks for, where the hardware has the units."""
        if facts.precision.autocast:
            return Skip("the script runs under autocast, which narrows the same products")
        if facts.roots and not any("float32" in root.dtypes for root in facts.roots):
            return Skip("no model has float32 weights")
        if facts.precision.matmul == "medium" or (facts.is_cuda and facts.precision.matmul == "high"):
            return Skip(f'the script already asks for "{facts.precision.matmul}" matrix products')
        if not facts.is_cuda and not BFLOAT16 & set(facts.machine.flags):
            return Skip("this processor has no bfloat16 arithmetic")
        return ("high",) if facts.is_cuda else ("medium",)

    def install(self, value: Value, host: Host) -> None:
        """Set it now, and again before the first update in case the script set its own."""
        import torch

        read, write = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter

        def turn() -> None:
            legacy, written = torch.get_float32_matmul_precision(), [read(*key) for key in _KEYS]

            def change() -> None:
                torch.set_float32_matmul_precision(str(value))
                if value == "medium":
                    write("mkldnn", "conv", "bf16")

            def take_back() -> None:
                torch.set_float32_matmul_precision(legacy)
                for key, old in zip(_KEYS, written):
                    write(*key, old)

            if legacy != value:
                host.call(change, take_back)

        turn()
        host.before_first_step(lambda _: turn())

    def switches(self, facts: Facts) -> bool:
        """Torch reads it at each operation."""
        return True
