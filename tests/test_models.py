"""Public models: what they count to, what they cache, by what names they are known, and files that break the layout."""

import csv
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from configs import ConfigError
from configs.architectures import embeddings

IDS = configs.ids("models")


def unit(published: float) -> float:
    """Return one in the last digit that a publisher gives, in billions as they write it: 37 -> 1e9, 3.3 -> 1e8."""
    digits = f"{published / 1e9:.10g}".partition(".")[2]
    return 1e9 * 10.0 ** -len(digits)


@pytest.mark.parametrize("name", IDS)
def test_layers_count_to_the_published_parameters(name):
    m = configs.load_model(name)
    total, active = configs.count(m)
    assert total == pytest.approx(m.params, rel=0.01)
    left_out = {
        "all": 0.0,
        "without input embedding": m.vocab * m.d_model,
        "without embeddings": embeddings(m),
    }[m.tables["parameters"].get("active_counts", "all")]
    active -= left_out
    # Publishers round to the billion, or cut off: 3.35 B is published as 3.3 B, 9.8 B as 10 B.
    one = unit(m.active_params)
    as_rounded = m.active_params - one / 2 <= active < m.active_params + one
    assert active == pytest.approx(m.active_params, rel=0.01) or as_rounded
    experts = any(isinstance(layer.feedforward, configs.ExpertsFacts) for layer in m.layers)
    assert (m.active_params < m.params) == experts


def test_the_shipped_models_are_many_and_sourced():
    assert len(IDS) >= 45
    for name in IDS:
        tables = configs.load_model(name).tables
        assert all(tables[part]["source"] and tables[part]["retrieved"] for part in ("parameters", "architecture"))


# Written from the papers and model cards, by hand: elements cached per token.
CACHED = {
    "llama-3.1-70b": 2 * 80 * 8 * 128,
    "llama-2-13b": 2 * 40 * 5120,
    "mixtral-8x7b": 2 * 32 * 8 * 128,
    "qwen3-235b-a22b": 2 * 94 * 4 * 128,
    "qwen3-next-80b-a3b": 2 * 12 * 2 * 256,
    "deepseek-v3": 61 * (512 + 64),
    "deepseek-v3.2": 61 * (512 + 64 + 128),
    "glm-5": 78 * (512 + 64 + 128),
    "kimi-k3": 24 * (512 + 64),
    "gpt-oss-120b": 2 * 36 * 8 * 64,
    "gemma-3-27b": 2 * 62 * 16 * 128,
    "gemma-4-31b": 2 * (50 * 16 * 256 + 10 * 4 * 512),
    "palm-540b": 2 * 118 * 256,
    "gpt-3-175b": 2 * 96 * 12288,
    "minimax-text-01": 2 * 10 * 8 * 128,
    "nemotron-3-nano-30b-a3b": 2 * 6 * 2 * 128,
}


@pytest.mark.parametrize("name", CACHED)
def test_elements_cached_per_token(name):
    m = configs.load_model(name)
    assert configs.kv_elements_per_token(m) == CACHED[name]
    assert configs.kv_elements(m, 64) == 64 * CACHED[name]  # every window is longer


def test_a_window_caches_its_last_tokens_only():
    m = configs.load_model("gpt-oss-120b")
    assert configs.kv_elements(m, 10_000) == 2 * 8 * 64 * (18 * 10_000 + 18 * 128)
    scout = configs.load_model("llama-4-scout")
    assert configs.kv_elements(scout, 1e6) == 2 * 8 * 128 * (12 * 1e6 + 36 * 8192)


def test_recurrent_layers_keep_a_state_of_fixed_size():
    nano = configs.load_model("nemotron-3-nano-30b-a3b")
    assert configs.state_elements(nano) == 23 * (64 * 64 * 128 + (64 * 64 + 2 * 8 * 128) * 3)
    assert configs.state_elements(configs.load_model("minimax-text-01")) == 70 * 64 * 128 * 128
    assert configs.state_elements(configs.load_model("llama-3.1-8b")) == 0


# Names


@pytest.mark.parametrize("name", IDS)
def test_every_name_and_alias_finds_its_own_model(name):
    m = configs.load_model(name)
    for text in (m.id, m.name, *m.aliases, m.name.upper(), m.id.replace("-", "_")):
        found = configs.model_named(text)
        assert found is not None, text
        assert found.id == name, text
    for text in (m.name, m.name.lower(), *m.aliases):
        assert configs.load_model(text) is configs.load_model(name), text


@pytest.mark.parametrize(
    ("text", "name"),
    {
        "meta-llama/Llama-3.3-70B-Instruct": "llama-3.3-70b",
        "Llama 3.3 70B": "llama-3.3-70b",
        "nvidia/Llama-3.3-70B-Instruct-FP8": "llama-3.3-70b",
        "nvidia/Llama-3.1-405B-Instruct-NVFP4": "llama-3.1-405b",
        "Meta-Llama-3.1-8B-Instruct": "llama-3.1-8b",
        "LLAMA3.1_405B": "llama-3.1-405b",
        "Llama2-7B": "llama-2-7b",
        "DeepSeekV3 (w/o MTP)": "deepseek-v3",
        "DeepSeek-R1": "deepseek-v3",
        "Qwen3_30B_a3B (tokendrop)": "qwen3-30b-a3b",
        "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8": "qwen3-235b-a22b",
        "GPT OSS 120B": "gpt-oss-120b",
        "gemini/gemini-gemma-2-9b-it": "gemma-2-9b",
        "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b",
    }.items(),
)
def test_names_as_tables_write_them(text, name):
    found = configs.model_named(text)
    assert found is not None
    assert found.id == name


@pytest.mark.parametrize(
    "text", ["", " ", "/", "-", "(a)", "instruct", "meta", "gpt-4o", "Llama", "Qwen3", "70B", "é\n"]
)
def test_unknown_names_are_none(text):
    assert configs.model_named(text) is None


@given(st.text())
def test_any_text_is_a_model_or_none(text):
    assert configs.model_named(text) is None or text.strip()


# No shape of these is public, or none that layers of these kinds can state.
SHAPELESS = re.compile(r"MaxText default .*|\d+[BT] (MoE|dense)|GPT (2\.1|462)B|DeepSeekV4 Flash|gemma4-[24]b")


@pytest.mark.parametrize("table", ["serving", "training"])
def test_every_model_of_the_tables_is_known(table, data):
    with (data / "serving" / f"{table}.csv").open() as file:
        names = {row["model"] for row in csv.DictReader(file)}
    unknown = {name for name in names if configs.model_named(name) is None}
    assert {name for name in unknown if not SHAPELESS.fullmatch(name)} == set()
    assert unknown == {name for name in names if SHAPELESS.fullmatch(name)}


@pytest.mark.parametrize(
    ("name", "said"),
    {
        "llama-3.1-70": "did you mean 'llama-3.1-70b'?",
        "llama-3.3": "did you mean 'llama-3.3-70b'?",
        "xyzzy": "allowed are bloom-176b, command-r-plus",
        "no/such/model.toml": "no such file",
        "no/such/config.json": "no such file",
        "a\x00b": "unknown model 'a\\x00b'",
        "a\x00b.json": "a\\x00b.json",
        "": "unknown model ''",
    }.items(),
)
def test_unknown_models_are_refused(name, said):
    with pytest.raises(ConfigError) as caught:
        configs.load_model(name)
    assert said in str(caught.value)


# TOML

PLAIN = """
name = "Mine"
[parameters]
total = 8.03e9
source = "here"
retrieved = "2026"
[architecture]
d_model = 4096
vocab = 128256
embeddings = "untied"
source = "here"
retrieved = "2026"
[[layers]]
count = 32
mixer = "attention"
heads = 32
kv_heads = 8
head_dim = 128
feedforward = "dense"
width = 14336
"""
MIXED = PLAIN.replace("total = 8.03e9", "total = 9e9\nactive = 8e9").replace(
    'feedforward = "dense"\nwidth = 14336', 'feedforward = "experts"\nexperts = 8\ntopk = 2\nwidth = 1024'
)
LATENT = MIXED.replace(
    'mixer = "attention"\nheads = 32\nkv_heads = 8\nhead_dim = 128',
    'mixer = "latent"\nheads = 32\nlatent_dim = 512\nnope_dim = 128\nrope_dim = 64\nvalue_dim = 128',
)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a model file and loads it."""

    def load(text: str) -> configs.ModelFacts:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return configs.load_model(str(path))

    return load


def test_a_users_file_is_a_model_of_its_own(written):
    mine = written(PLAIN)
    assert mine.layers == configs.load_model("llama-3.1-8b").layers
    assert mine.id.endswith("mine.toml")
    assert (mine.active_params, mine.weights, mine.aliases, mine.mtp_layers) == (8.03e9, None, (), 0.0)
    assert not mine.parallel_blocks
    assert written(MIXED).layers[0].feedforward == configs.ExpertsFacts(8, 2, 1024)
    assert written(LATENT).layers[0].mixer == configs.LatentFacts(32, 0, 512, 128, 64, 128)


# What is replaced, by what, and what the sentence must hold.
BAD_TOML = {
    "no name": (PLAIN, 'name = "Mine"', "", ["name is missing"]),
    "unknown key": (PLAIN, "count = 32", "count = 32\nlayer = 1", ["layers.1.layer is not a known key"]),
    "mistyped key": (PLAIN, "kv_heads", "kv_head", ["layers.1.kv_head", "did you mean 'kv_heads'?"]),
    "mistyped table": (PLAIN, "[architecture]", "[architectur]", ["architectur", "did you mean 'architecture'?"]),
    "no layers": (PLAIN, PLAIN[PLAIN.index("[[") :], "", ["layers is missing"]),
    "layers a table": (PLAIN, "[[layers]]", "[layers]", ["layers must be a list of tables, [[layers]]"]),
    "layers empty": (
        PLAIN.replace("[parameters]", "layers = []\n[parameters]"), PLAIN[PLAIN.index("[[") :], "", ["layers must be"],
    ),
    "layers a list of numbers": (
        PLAIN.replace("[parameters]", "layers = [1]\n[parameters]"), PLAIN[PLAIN.index("[[") :], "",
        ["layers.1 must be a table, not 1"],
    ),
    "no count": (PLAIN, "count = 32", "", ["layers.1.count is missing"]),
    "zero layers": (PLAIN, "count = 32", "count = 0", ["layers.1.count = 0 is outside 1 to 10000"]),
    "count a word": (PLAIN, "count = 32", 'count = "all"', ["layers.1.count = 'all' must be a number in layers"]),
    "count true": (PLAIN, "count = 32", "count = true", ["layers.1.count = True must be a number"]),
    "count not a number": (PLAIN, "count = 32", "count = nan", ["layers.1.count = nan is outside"]),
    "no mixer": (PLAIN, 'mixer = "attention"', "", ["layers.1.mixer is missing"]),
    "unlike any mixer": (PLAIN, '"attention"', '"xyz"', ["'xyz' must be one of attention, latent, recurrent, none"]),
    "mistyped mixer": (PLAIN, '"attention"', '"atention"', ["did you mean 'attention'?"]),
    "no feedforward": (PLAIN, 'feedforward = "dense"', "", ["layers.1.feedforward is missing"]),
    "no heads": (PLAIN, "heads = 32\nkv", "kv", ["layers.1.heads is missing (mixer 'attention', feedforward 'dense')"]),
    "no width": (PLAIN, "width = 14336", "", ["layers.1.width is missing"]),
    "another mixer's key": (
        PLAIN, "head_dim = 128", "head_dim = 128\nlatent_dim = 512",
        ["layers.1.latent_dim does not belong to mixer 'attention' with feedforward 'dense'", "here: gate_width"],
    ),
    "another block's key": (PLAIN, "width = 14336", "width = 14336\ntopk = 2", ["layers.1.topk does not belong to"]),
    "nothing in a layer": (
        PLAIN, PLAIN[PLAIN.index('mixer = "att') :], 'mixer = "none"\nfeedforward = "none"', ["both 'none'"],
    ),
    "more kv heads than heads": (PLAIN, "kv_heads = 8", "kv_heads = 64", ["kv_heads = 64 must not exceed heads = 32"]),
    "more chosen than experts": (MIXED, "topk = 2", "topk = 9", ["topk = 9 must not exceed experts = 8"]),
    "half an indexer": (LATENT, "rope_dim = 64", "rope_dim = 64\nindex_dim = 128", ["index_heads is missing"]),
    "experts without active": (MIXED, "active = 8e9", "", ["parameters.active is missing (a model with experts"]),
    "active above total": (MIXED, "active = 8e9", "active = 1e10", ["active = 1e+10 must not exceed total = 9e+09"]),
    "total in billions": (PLAIN, "total = 8.03e9", "total = 8.03", ["total = 8.03 is outside 1e+06 to 1e+14"]),
    "no source": (PLAIN, 'source = "here"\nretrieved = "2026"\n[arch', "[arch", ["every fact needs its source"]),
    "no date": (PLAIN, '\nretrieved = "2026"\n[arch', "\n[arch", ["needs a 'retrieved' or 'date'"]),
    "embeddings": (PLAIN, '"untied"', '"unties"', ["embeddings = 'unties'", "did you mean 'untied'?"]),
    "blocks": (PLAIN, '"untied"', '"untied"\nblocks = "both"', ["must be one of serial, parallel"]),
    "weights": (PLAIN, 'name = "Mine"', 'name = "Mine"\nweights = "fp9"', ["weights = 'fp9'", "fp8"]),
    "aliases a word": (PLAIN, 'name = "Mine"', 'name = "Mine"\naliases = "m"', ["aliases", "list of strings"]),
    "matrices": (PLAIN, "width = 14336", "width = 14336\nmatrices = 4", ["matrices = 4 is outside 2 to 3"]),
    "active_counts": (MIXED, "active = 8e9", 'active = 8e9\nactive_counts = "some"', ["must be one of all, without"]),
    "not TOML": (PLAIN, "[[layers]]", "[[layers]", ["not valid TOML"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TOML)
def test_bad_model_files_are_refused_in_one_sentence(case, written):
    text, old, new, said = BAD_TOML[case]
    assert old in text
    with pytest.raises(ConfigError) as caught:
        written(text.replace(old, new, 1))
    sentence = str(caught.value)
    assert "mine.toml" in sentence
    assert "\n" not in sentence
    for words in said:
        assert words in sentence
