"""The number formats that kernels are timed in: which peak they run at, and what an element weighs."""

from typing import NamedTuple


class Format(NamedTuple):
    """One format of weights: the datasheet ``peak`` it multiplies at, ``element_bytes`` with its scales.

    ``quantised`` formats convert bf16 activations first; weight-only ones (``peak`` bf16, narrow elements) do not.
    """

    peak: str
    element_bytes: float
    quantised: bool


# Scales: nvfp4 one fp8 per 16 elements, mxfp4 one 8-bit exponent per 32, int4 one bf16 per 128 (the common group size);
# the scales of fp8 and int8 weights, one number per row or per 128 x 128 block, are below 0.1 %.
FORMATS = {
    "bf16": Format("bf16", 2.0, False),
    "fp16": Format("bf16", 2.0, False),
    "fp8": Format("fp8", 1.0, True),
    "fp8_block": Format("fp8", 1.0, True),
    "int8": Format("int8", 1.0, True),
    "nvfp4": Format("fp4", 0.5625, True),
    "w4a8_mxfp4": Format("fp8", 0.53125, True),
    "w4a16_mxfp4": Format("bf16", 0.53125, False),
    "int4_wo": Format("bf16", 0.515625, False),
    "int8_wo": Format("bf16", 1.0, False),
}
_NAMES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "w4a8_mxfp4_mxfp8": "w4a8_mxfp4"}


def canonical(dtype: str) -> str:
    """Return the name used here for a dtype as tables spell it; an unknown one comes back as it is."""
    return _NAMES.get(dtype, dtype)
