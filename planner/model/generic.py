"""A typical transformer of a given size, for models known by their parameter counts alone."""

from math import ceil, inf, log2
from typing import Any

import configs
from configs.architectures import AttentionFacts, DenseFacts, ExpertsFacts, LayerFacts, ModelFacts

_SHAPE = "dense-gqa"
HEAD_DIM = 128.0  # every public dense model of 7B and more among the model facts
VOCABULARY = 128256.0  # the Llama 3 tokenizer, arXiv:2407.21783, section 3.2
FIXED_SHARE = 0.7  # of the active parameters may be embeddings and attention; public models have 0.2 to 0.5
_SPREAD = 64.0  # larger numbers of experts are multiples of it (DeepSeek 256, Kimi 384, Qwen3-Next 512), to be spread
EXPERTS, TOPK = 128.0, 8.0  # Qwen3, GLM-4.5 and others: the commonest choice among the model facts with experts
# Active parameters of feed-forward blocks over all active ones, in models with experts: the median of the 31 public
# ones among the model facts, 2.4B to 104B active, 17 % rms and no trend with size (exponent 0.03). One number for all
# sizes keeps total parameters a monomial of the active ones.
FFN_SHARE = 0.65


def sparsity_of(experts: Any) -> Any:
    """Return total over active parameters where feed-forward blocks hold ``experts`` times what is active of them."""
    return 1.0 + (experts - 1.0) * FFN_SHARE


def experts_at(sparsity: Any) -> Any:
    """Return the experts, total over active parameters of feed-forward blocks, that make a ``sparsity``."""
    return 1.0 + (sparsity - 1.0) / FFN_SHARE


def generic_model(name: str, params: float, active_params: float) -> ModelFacts:
    """Return a model with ``params`` parameters of which ``active_params`` are used per token, in numbers of layers,
    width and KV heads typical of public dense models of the active size (`configs.shapes`; 10 % in layers, 12 % in
    width, 24 % in KV bytes per token, rms). More total than active parameters make 8 of 128 experts per token, of more
    where one would be too wide.

    Raises:
        configs.ConfigError: active exceeds total, or either is too small for a transformer.
    """
    if not 1e6 <= active_params <= params:
        raise configs.ConfigError(
            f"{configs.shown(name)}: {active_params:g} active of {params:g} parameters: at least 1e6, at most all"
        )
    fit = configs.load_shape(_SHAPE).fit
    billions = active_params / 1e9
    layers, d_model, kv_width = (
        fit[f"{x}_at_1b"] * billions ** fit[f"{x}_exponent"] for x in ("layers", "d_model", "kv_width")
    )
    layers = max(round(layers), 1)
    kv_heads = max(2.0 ** round(log2(kv_width / HEAD_DIM)), 1.0)
    heads = max(round(d_model / HEAD_DIM / kv_heads), 1) * kv_heads

    def fixed() -> float:
        return d_model * (2.0 * vocab + layers * 2.0 * HEAD_DIM * (heads + kv_heads))

    # Below a few hundred million parameters the power laws leave no room for feed-forward blocks: narrower, then fewer.
    while True:
        d_model = heads * HEAD_DIM
        vocab = min(VOCABULARY, 0.1 * active_params / d_model)  # small models have small vocabularies
        if fixed() <= FIXED_SHARE * active_params:
            break
        if heads > 1.0:
            heads = heads - kv_heads if heads > kv_heads else heads / 2.0
            kv_heads = min(kv_heads, heads)
        elif layers > 1:
            layers -= 1
        else:
            vocab *= 0.5
            break
    attention = AttentionFacts(heads, kv_heads, HEAD_DIM, HEAD_DIM, inf)
    rest = (active_params - fixed()) / layers / (3.0 * d_model)
    if params > 1.02 * active_params:
        # The router takes its share of what a token uses, the other experts the rest of the parameters.
        idle = (params - active_params) / layers / (3.0 * d_model)
        most = 0.9 * rest / TOPK
        experts = max(EXPERTS, _SPREAD * ceil((TOPK + idle / most) / _SPREAD))
        width = idle / (experts - TOPK)
        block = ExpertsFacts(experts, TOPK, width, max(rest - TOPK * width - experts / 3.0, 0.0))
    else:
        block = DenseFacts(rest)
    layer = LayerFacts(float(layers), attention, block)
    return ModelFacts(
        configs.shown(name), name, params, active_params, d_model, vocab, False, False, 0.0, (layer,), None, (), {}
    )
