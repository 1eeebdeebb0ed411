"""Hugging Face: the config.json of every family reads as the shipped model, and bad ones are refused in a sentence."""

import copy
import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from configs import ConfigError

# The files of the hub, trimmed to what is read.


def named(model_type, width, layers, heads, kv_heads, vocab, **more):
    """Return a config.json in the usual words."""
    return {
        "model_type": model_type, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocab, **more,
    }  # fmt: skip


def nested(outer, inner, **more):
    return {"model_type": outer, "text_config": inner, "vision_config": {"hidden_size": 1152}, **more}


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


LATENT_HEADS = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
V3 = named(
    "deepseek_v3", 7168, 61, 128, 128, 129280, q_lora_rank=1536, **LATENT_HEADS, intermediate_size=18432,
    moe_intermediate_size=2048, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8,
    first_k_dense_replace=3, moe_layer_freq=1, num_nextn_predict_layers=1, tie_word_embeddings=False,
    quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]},
)  # fmt: skip
LLAMA4 = named(
    "llama4_text", 5120, 48, 40, 8, 202048, head_dim=128, intermediate_size=8192, intermediate_size_mlp=16384,
    num_experts_per_tok=1, num_local_experts=16, interleave_moe_layer_step=1, attention_chunk_size=8192,
    max_position_embeddings=10485760,
)  # fmt: skip
NEXT = {
    "head_dim": 256, "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_num_key_heads": 16, "linear_value_head_dim": 128, "num_experts": 512, "num_experts_per_tok": 10,
}  # fmt: skip
GLM = {"head_dim": 128, "n_shared_experts": 1, "num_experts_per_tok": 8, "num_nextn_predict_layers": 1}
NANO = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
SUPER = "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME"
MAMBA = {"mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4, "head_dim": 128}
HUB = {
    "llama-3.1-8b": named("llama", 4096, 32, 32, 8, 128256, intermediate_size=14336, tie_word_embeddings=False),
    "llama-3.2-1b": named("llama", 2048, 16, 32, 8, 128256, intermediate_size=8192, tie_word_embeddings=True),
    "llama-2-13b": without(named("llama", 5120, 40, 40, 0, 32000, intermediate_size=13824), "num_key_value_heads"),
    "mistral-7b": named("mistral", 4096, 32, 32, 8, 32768, intermediate_size=14336, sliding_window=None),
    "mistral-nemo-12b": named(
        "mistral", 5120, 40, 32, 8, 131072, intermediate_size=14336, head_dim=128, sliding_window=None
    ),
    "mixtral-8x7b": named(
        "mixtral", 4096, 32, 32, 8, 32000, intermediate_size=14336, num_local_experts=8, num_experts_per_tok=2,
        sliding_window=None,
    ),
    "qwen2.5-7b": named(
        "qwen2", 3584, 28, 28, 4, 152064, intermediate_size=18944, sliding_window=131072, max_window_layers=28,
        use_sliding_window=False,
    ),
    "qwen3-8b": named(
        "qwen3", 4096, 36, 32, 8, 151936, intermediate_size=12288, head_dim=128, sliding_window=None,
        use_sliding_window=False,
    ),
    "qwen3-30b-a3b": named(
        "qwen3_moe", 2048, 48, 32, 4, 151936, head_dim=128, intermediate_size=6144, moe_intermediate_size=768,
        num_experts=128, num_experts_per_tok=8, decoder_sparse_step=1, mlp_only_layers=[],
    ),
    "qwen3-next-80b-a3b": named(
        "qwen3_next", 2048, 48, 16, 2, 151936, **NEXT, intermediate_size=5120, linear_num_value_heads=32,
        moe_intermediate_size=512, shared_expert_intermediate_size=512, decoder_sparse_step=1, mlp_only_layers=[],
    ),
    "qwen3.5-397b-a17b": nested(
        "qwen3_5_moe",
        named(
            "qwen3_5_moe_text", 4096, 60, 32, 2, 248320, **NEXT, attn_output_gate=True, linear_num_value_heads=64,
            moe_intermediate_size=1024, shared_expert_intermediate_size=1024, mtp_num_hidden_layers=1,
            layer_types=(["linear_attention"] * 3 + ["full_attention"]) * 15,
        ),
        tie_word_embeddings=False,
    ),
    "deepseek-v2-lite": named(
        "deepseek_v2", 2048, 27, 16, 16, 102400, **LATENT_HEADS, q_lora_rank=None, intermediate_size=10944,
        moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6,
        first_k_dense_replace=1, moe_layer_freq=1,
    ),
    "deepseek-v3": V3,
    "deepseek-v3.2": {
        **V3, "model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048,
    },
    "kimi-k2": {
        **V3, "model_type": "kimi_k2", "num_attention_heads": 64, "vocab_size": 163840, "n_routed_experts": 384,
        "first_k_dense_replace": 1, "num_nextn_predict_layers": 0,
    },
    "kimi-k3": nested(
        "kimi_k3",
        named(
            "kimi_linear", 7168, 93, 96, 96, 163840, **LATENT_HEADS, q_lora_rank=1536, intermediate_size=33792,
            moe_intermediate_size=3072, num_experts=896, num_experts_per_token=16, num_shared_experts=2,
            routed_expert_hidden_size=3584, first_k_dense_replace=1, moe_layer_freq=1, mla_use_output_gate=True,
            linear_attn_config={
                "num_heads": 96, "head_dim": 128, "short_conv_kernel_size": 4, "use_full_rank_gate": True,
                "full_attn_layers": [*range(4, 93, 4), 93],
            },
            quantization_config={"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"},
        ),
    ),
    "glm-5": {
        **V3, "model_type": "glm_moe_dsa", "hidden_size": 6144, "num_hidden_layers": 78, "num_attention_heads": 64,
        "q_lora_rank": 2048, "qk_nope_head_dim": 192, "v_head_dim": 256, "vocab_size": 154880, "head_dim": 64,
        "intermediate_size": 12288, "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 75, "quantization_config": None,
    },
    "glm-4.5-air": named(
        "glm4_moe", 4096, 46, 96, 8, 151552, **GLM, intermediate_size=10944, moe_intermediate_size=1408,
        n_routed_experts=128, first_k_dense_replace=1,
    ),
    "glm-4.6": named(
        "glm4_moe", 5120, 92, 96, 8, 151552, **GLM, intermediate_size=12288, moe_intermediate_size=1536,
        n_routed_experts=160, first_k_dense_replace=3,
    ),
    "gpt-oss-20b": named(
        "gpt_oss", 2880, 24, 64, 8, 201088, head_dim=64, intermediate_size=2880, num_local_experts=32,
        num_experts_per_tok=4, experts_per_token=4, sliding_window=128, max_position_embeddings=131072,
        layer_types=["sliding_attention", "full_attention"] * 12, quantization_config={"quant_method": "mxfp4"},
    ),
    "gemma-2-9b": named(
        "gemma2", 3584, 42, 16, 8, 256000, head_dim=256, intermediate_size=14336, sliding_window=4096,
        max_position_embeddings=8192,
    ),
    "gemma-3-4b": nested(
        "gemma3",
        {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
    ),
    "gemma-3-27b": named(
        "gemma3_text", 5376, 62, 32, 16, 262208, head_dim=128, intermediate_size=21504, sliding_window=1024,
        sliding_window_pattern=6,
    ),
    "gemma-4-26b-a4b": nested(
        "gemma4",
        named(
            "gemma4_text", 2816, 30, 16, 8, 262144, head_dim=256, global_head_dim=512, num_global_key_value_heads=2,
            intermediate_size=2112, moe_intermediate_size=704, enable_moe_block=True, num_experts=128,
            top_k_experts=8, sliding_window=1024, hidden_size_per_layer_input=0,
            layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 5,
        ),
    ),
    "llama-4-scout": nested("llama4", LLAMA4),
    "llama-4-maverick": nested("llama4", {**LLAMA4, "num_local_experts": 128, "interleave_moe_layer_step": 2}),
    "phi-4": named("phi3", 5120, 40, 40, 10, 100352, intermediate_size=17920, sliding_window=None),
    "phi-3.5-moe": named(
        "phimoe", 4096, 32, 32, 8, 32064, intermediate_size=6400, num_local_experts=16, num_experts_per_tok=2,
        sliding_window=131072, max_position_embeddings=131072,
    ),
    "minimax-m2": named(
        "minimax_m2", 3072, 62, 48, 8, 200064, head_dim=128, intermediate_size=1536, num_local_experts=256,
        num_experts_per_tok=8, attn_type_list=[1] * 62, quantization_config={"quant_method": "fp8"},
        tie_word_embeddings=False,
    ),
    "minimax-text-01": named(
        "minimax_text_01", 6144, 80, 64, 8, 200064, head_dim=128, intermediate_size=9216, num_local_experts=32,
        num_experts_per_tok=2, attn_type_list=([0] * 7 + [1]) * 10, shared_intermediate_size=0,
    ),
    "minimax-m3": {
        "model_type": "minimax_m3_vl",
        "text_config": {
            "hidden_size": 6144, "num_hidden_layers": 60, "num_attention_heads": 64, "num_key_value_heads": 4,
            "head_dim": 128, "vocab_size": 200064, "intermediate_size": 3072, "dense_intermediate_size": 12288,
            "shared_intermediate_size": 3072, "num_local_experts": 128, "num_experts_per_tok": 4,
            "moe_layer_freq": [0] * 3 + [1] * 57,
        },
    },
    "nemotron-3-nano-30b-a3b": named(
        "nemotron_h", 2688, 52, 32, 2, 131072, **MAMBA, mamba_num_heads=64, hybrid_override_pattern=NANO,
        intermediate_size=1856, moe_intermediate_size=1856, n_routed_experts=128, n_shared_experts=1,
        moe_shared_expert_intermediate_size=3712, num_experts_per_tok=6,
    ),
    "nemotron-3-super-120b-a12b": named(
        "nemotron_h", 4096, 88, 32, 2, 131072, **MAMBA, mamba_num_heads=128,
        layers_block_type=[{"M": "mamba", "E": "moe", "*": "attention"}[one] for one in SUPER],
        moe_intermediate_size=2688, moe_latent_size=1024, n_routed_experts=512, n_shared_experts=1,
        moe_shared_expert_intermediate_size=5376, num_experts_per_tok=22,
    ),
    "nemotron-4-340b": named("nemotron", 18432, 96, 96, 8, 256000, intermediate_size=73728),
    "olmo-2-7b": named("olmo2", 4096, 32, 32, 32, 100352, intermediate_size=11008),
    "olmo-3-32b": named(
        "olmo3", 5120, 64, 40, 8, 100278, intermediate_size=27648, sliding_window=4096, max_position_embeddings=65536
    ),
    "command-r-plus": named("cohere", 12288, 64, 96, 8, 256000, intermediate_size=33792),
    "falcon-180b": {
        "model_type": "falcon", "hidden_size": 14848, "num_hidden_layers": 80, "num_attention_heads": 232,
        "num_kv_heads": 8, "new_decoder_architecture": True, "parallel_attn": True, "vocab_size": 65024,
    },
    "mpt-30b": {
        "model_type": "mpt", "d_model": 7168, "n_layers": 48, "n_heads": 64, "expansion_ratio": 4,
        "vocab_size": 50432, "attn_config": {"attn_type": "multihead_attention", "alibi": True},
    },
    "bloom-176b": {
        "model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112, "vocab_size": 250880,
    },
    "opt-175b": {
        "model_type": "opt", "hidden_size": 12288, "num_hidden_layers": 96, "num_attention_heads": 96,
        "ffn_dim": 49152, "vocab_size": 50272,
    },
    "dbrx": {
        "model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "vocab_size": 100352,
        "attn_config": {"kv_n_heads": 8, "clip_qkv": 8}, "tie_word_embeddings": False,
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
    },
    "gpt-3-5b": {
        "model_type": "gpt2", "n_embd": 4096, "n_head": 32, "n_layer": 24, "n_inner": None, "vocab_size": 50304,
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a config.json and loads the folder it lies in."""

    def load(config) -> configs.ModelFacts:
        path = tmp_path / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        return configs.load_model(str(tmp_path))

    return load


@pytest.mark.parametrize("name", HUB)
def test_a_config_json_reads_as_the_shipped_model(name, folder):
    read, shipped = folder(HUB[name]), configs.load_model(name)
    assert read.layers == shipped.layers
    for key in ("d_model", "vocab", "tied_embeddings", "parallel_blocks"):
        assert getattr(read, key) == getattr(shipped, key), key
    assert (read.params, read.active_params) == configs.count(shipped)


def test_a_config_json_is_read_by_path_and_by_folder(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(V3))
    one, other = configs.load_model(str(path)), configs.load_model(str(tmp_path))
    assert one == other
    assert (one.mtp_layers, one.weights, one.name) == (1.0, "fp8", tmp_path.name)


def windows(facts):
    return [(layer.count, layer.mixer.window_tokens) for layer in facts.layers]


def test_windows_of_the_families(folder):
    old = {**HUB["mistral-7b"], "sliding_window": 4096, "max_position_embeddings": 32768}
    assert windows(folder(old)) == [(32, 4096)]
    del old["sliding_window"]
    assert windows(folder(old)) == [(32, 4096)]  # the class says so
    assert windows(folder({**old, "max_position_embeddings": 4096})) == [(32, inf)]  # hides nothing
    late = {**HUB["qwen2.5-7b"], "use_sliding_window": True, "max_window_layers": 20}
    assert windows(folder(late)) == [(20, inf), (8, 131072)]
    assert windows(folder({**HUB["gemma-3-27b"], "sliding_window_pattern": 2})) == [(31, 1024), (31, inf)]
    assert windows(folder(without(HUB["gpt-oss-20b"], "layer_types"))) == [(12, 128), (12, inf)]


def blocks(facts):
    return [(layer.count, type(layer.feedforward).__name__) for layer in facts.layers]


def test_which_layers_have_experts(folder):
    moe = HUB["qwen3-30b-a3b"]
    # Every second layer, counted from one: the odd ones when counted from zero, so a dense layer comes first.
    assert blocks(folder({**moe, "decoder_sparse_step": 2})) == [(24, "DenseFacts"), (24, "ExpertsFacts")]
    assert blocks(folder({**moe, "mlp_only_layers": [0, 5]})) == [(2, "DenseFacts"), (46, "ExpertsFacts")]
    assert blocks(folder({**V3, "moe_layer_freq": 2})) == [(32, "DenseFacts"), (29, "ExpertsFacts")]
    chosen = {**LLAMA4, "moe_layers": [1, 2]}
    assert blocks(folder(chosen)) == [(34, "DenseFacts"), (2, "ExpertsFacts"), (12, "DenseFacts")]


@pytest.mark.parametrize("absent", ["num_experts", "num_experts_per_tok", "moe_intermediate_size"])
def test_a_family_of_experts_is_not_taken_for_a_dense_one(absent, folder):
    with pytest.raises(ConfigError):
        folder(without(HUB["qwen3-30b-a3b"], absent, "intermediate_size"))


_FLOAT8 = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}}


@pytest.mark.parametrize(
    ("how", "weights"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "HQQ"}, "hqq"),
        (_FLOAT8, "fp8"),
        ({}, None),
        (None, None),
    ],
)
def test_formats_of_quantised_weights(how, weights, folder):
    assert folder({**HUB["llama-3.1-8b"], "quantization_config": how}).weights == weights


LLAMA, MOE, OSS, HYBRID = (HUB[n] for n in ("llama-3.1-8b", "qwen3-30b-a3b", "gpt-oss-20b", "nemotron-3-nano-30b-a3b"))
BAD_JSON = {
    "empty": ("", ["not valid JSON"]),
    "truncated": (json.dumps(LLAMA)[:-20], ["not valid JSON"]),
    "a list": ("[1, 2]", ["must hold one JSON object, not [1, 2]"]),
    "a number": ("7", ["must hold one JSON object, not 7"]),
    "null": ("null", ["must hold one JSON object, not null"]),
    "NaN": (json.dumps({**LLAMA, "hidden_size": float("nan")}), ["NaN is not a number"]),
    "Infinity": (json.dumps({**LLAMA, "hidden_size": inf}), ["Infinity is not a number"]),
    "1e999": (json.dumps(LLAMA).replace("4096", "1e999"), ["hidden_size", "must be a whole number from 1 to 1e+09"]),
    "too deep": ('{"a":' * 100_000, ["nested too deeply"]),
    "too deep a list": ("[" * 100_000, ["nested too deeply"]),
    "too large": (" " * 10_000_001, ["larger than 10 MB"]),
    "an endless integer": ('{"hidden_size": ' + "9" * 5000 + "}", ["not valid JSON"]),
    "no family": ({"hidden_size": 64}, ["model_type is missing: one of llama, mistral"]),
    "a number for family": ({**LLAMA, "model_type": 3}, ["model_type is missing"]),
    "unknown family": ({**LLAMA, "model_type": "lama"}, ["model_type = 'lama'", "did you mean 'llama'?"]),
    "unlike any family": ({**LLAMA, "model_type": "xyzzy"}, ["'xyzzy'", "known are llama, mistral, mixtral"]),
    "no text model": ({"model_type": "clip"}, ["model_type = 'clip'"]),
    "no layers": (without(LLAMA, "num_hidden_layers"), ["num_hidden_layers is missing: a whole number from 1 to"]),
    "zero layers": ({**LLAMA, "num_hidden_layers": 0}, ["num_hidden_layers = 0 must be a whole number from 1 to"]),
    "half a layer": ({**LLAMA, "num_hidden_layers": 1.5}, ["num_hidden_layers = 1.5 must be a whole number"]),
    "too many layers": ({**LLAMA, "num_hidden_layers": 10**9}, ["num_hidden_layers = 1000000000 must be"]),
    "a word for layers": ({**LLAMA, "num_hidden_layers": "32"}, ['num_hidden_layers = "32" must be a whole number']),
    "true for layers": ({**LLAMA, "num_hidden_layers": True}, ["num_hidden_layers = true must be a whole number"]),
    "a list for layers": ({**LLAMA, "num_hidden_layers": [1] * 99}, ["num_hidden_layers = [1, 1,"]),
    "negative width": ({**LLAMA, "hidden_size": -1}, ["hidden_size = -1 must be a whole number"]),
    "no width": (without(LLAMA, "hidden_size"), ["hidden_size is missing"]),
    "no vocabulary": (without(LLAMA, "vocab_size"), ["vocab_size is missing"]),
    "no block": (without(LLAMA, "intermediate_size"), ["intermediate_size is missing"]),
    "zero heads": ({**LLAMA, "num_attention_heads": 0}, ["num_attention_heads = 0"]),
    "uneven heads": ({**LLAMA, "num_attention_heads": 33}, ["head_dim is missing, and 33 heads do not divide"]),
    "more kv heads than heads": ({**LLAMA, "num_key_value_heads": 64}, ["= 64 must not exceed the 32 query heads"]),
    "tied a word": ({**LLAMA, "tie_word_embeddings": "no"}, ['tie_word_embeddings = "no" must be true or false']),
    "quantised by a number": ({**LLAMA, "quantization_config": 8}, ["quantization_config = 8 must be a table"]),
    "quantised by nothing": (
        {**LLAMA, "quantization_config": {"bits": 4}}, ["quantization_config.quant_method is missing"],
    ),
    "nested width": (
        nested("llama4", {**LLAMA4, "hidden_size": "big"}), ['text_config.hidden_size = "big" must be a whole number'],
    ),
    "too few layer types": ({**OSS, "layer_types": ["full_attention"]}, ["layer_types has 1 entries"]),
    "layer types a number": ({**OSS, "layer_types": 3}, ["layer_types = 3 is not a list"]),
    "unknown layer type": ({**OSS, "layer_types": ["ring"] * 24}, ['has an entry "ring"', "full_attention"]),
    "layer types in lists": ({**OSS, "layer_types": [[]] * 24}, ["layer_types has an entry []"]),
    "no experts": ({**V3, "n_routed_experts": None}, ["n_routed_experts is missing"]),
    "more chosen than experts": ({**V3, "num_experts_per_tok": 300}, ["num_experts_per_tok = 300 must not exceed"]),
    "no latent": ({**V3, "kv_lora_rank": None}, ["kv_lora_rank is missing"]),
    "unknown letter": ({**HYBRID, "hybrid_override_pattern": "Q" * 52}, ['has an entry "Q"', "M, mamba, *"]),
    "pattern too short": ({**HYBRID, "hybrid_override_pattern": "ME*"}, ["hybrid_override_pattern has 3 entries"]),
    "no pattern": (without(HYBRID, "hybrid_override_pattern"), ["hybrid_override_pattern is missing"]),
    "dense layer out of range": ({**MOE, "mlp_only_layers": [48]}, ["must be a list of layers from 0 to 47"]),
    "embeddings per layer": (
        {**HUB["gemma-4-26b-a4b"]["text_config"], "hidden_size_per_layer_input": 256}, ["is not 0: embeddings per"],
    ),
    "nested attention a list": ({**HUB["dbrx"], "attn_config": []}, ["attn_config = [] must be a table"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_config_json_is_refused_in_one_sentence(case, folder):
    config, said = BAD_JSON[case]
    with pytest.raises(ConfigError) as caught:
        folder(config)
    sentence = str(caught.value)
    assert "config.json: " in sentence
    assert "\n" not in sentence
    assert len(sentence) < 1500
    for words in said:
        assert words in sentence


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        configs.load_model(str(tmp_path))


def test_a_folder_for_a_config_json_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        configs.load_model(str(tmp_path))
    (tmp_path / "config.json").mkdir()
    for name in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(ConfigError, match="is a folder"):
            configs.load_model(str(name))


words = st.sampled_from(["full_attention", "linear_attention", "M", "dense", 0, 1, 2, 3.5, 1e300, 10**400])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(mutation=st.data())
def test_no_config_json_raises_anything_but_config_error(mutation, tmp_path_factory):
    config = copy.deepcopy(HUB[mutation.draw(st.sampled_from(sorted(HUB)))])
    for _ in range(mutation.draw(st.integers(1, 4))):
        table = config
        key = mutation.draw(st.sampled_from(sorted(table)))
        while isinstance(table[key], dict) and table[key] and mutation.draw(st.booleans()):
            table = table[key]
            key = mutation.draw(st.sampled_from(sorted(table)))
        table[key] = mutation.draw(values)
    text = json.dumps(config)
    if mutation.draw(st.integers(0, 9)) == 0:
        text = text[: mutation.draw(st.integers(0, len(text)))]
    path = tmp_path_factory.getbasetemp() / "mutated" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    try:
        facts = configs.load_model(str(path))
    except ConfigError as error:
        sentence = str(error)
    else:
        sentence = ""
        total, active = configs.count(facts)
        assert 0 < active <= total < inf
        assert 0 <= configs.kv_elements_per_token(facts) < inf
    assert "\n" not in sentence
