"""Published facts that ship with the planner, and the engines and layouts made for them."""

from dataclasses import replace

import numpy as np
import pytest

import configs
from planner.model.decoder import Decoder
from planner.model.numbers import decoder_numbers
from planner.runs import anchors
from planner.serving.device import Device
from planner.serving.layout import Layout
from planner.serving.numbers import device_numbers, engine_numbers, recipe_of
from planner.serving.ops import DecodeAttention, Load, Message
from planner.serving.work import Pass

KEYS = {"name", "source", "published", "predicted", "unit", "error", "tolerance"}
CHECKED = anchors.checked()


@pytest.mark.parametrize("row", CHECKED, ids=lambda row: row["name"])
def test_anchors_hold(row):
    assert row.keys() == KEYS
    assert 0 < row["predicted"] < np.inf
    assert abs(row["error"]) <= row["tolerance"] + 1e-12


def test_names_tell_anchors_apart():
    assert len({row["name"] for row in CHECKED}) == len(CHECKED)


def test_what_nobody_fitted_is_off_by_what_is_written():
    """PaLM on TPU v4: kernel constants from datasheets, an engine without overheads, the paper's layouts."""
    errors = [row["error"] for row in CHECKED if "2211.05102" in row["source"]]
    assert len(errors) == 4
    assert all(-0.26 < error < -0.10 for error in errors)


def test_few_programs_are_compiled():
    assert anchors._measure._cache_size() <= 6  # pyright: ignore[reportAttributeAccessIssue]


def test_worked_examples_are_matched_to_their_rounding():
    """Tables of the scaling book that are printed with three digits, and its counts."""
    rows = {row["name"]: row for row in CHECKED if "scaling-book" in row["source"]}
    assert len(rows) >= 12
    assert all(abs(row["error"]) <= 0.05 for row in rows.values())
    assert max(abs(row["error"]) for row in CHECKED if "LLaMA 2-13B" in row["source"]) < 0.01


def test_rows_of_the_book_that_its_own_figures_contradict():
    """The book prints 52 and 67 caches in int8 and int4; its memory and its 162 and 81 kB give 44 (see the file)."""
    named = {a.name: a for a in anchors.anchors(["scaling-book"])}
    one = named["Llama 3 70B bf16 on 16 TPU v5e: sequences of 8k that fit"]
    for precision, chips, weights in (("int8", 8.0, 70e9), ("bf16", 16.0, 140e9)):
        change = {"precision": precision, "layout": {"tp": chips}, "shares_batch": True}
        fits = anchors.measured(replace(one, **change))["max_batch"]
        each = configs.kv_elements_per_token(configs.load_model("llama-3-70b")) * 8192 * weights / 70e9
        by_hand = (chips * 16e9 - weights) / each
        assert fits == pytest.approx(by_hand, rel=0.06)  # embeddings and head stay in bf16: 2 of 58 GB
        assert by_hand < 45


def pass_of(model="palm-540b", batch=512.0, **layout):
    split = Layout(**{"tp": 64.0, "pp": 1.0, "dp": 1.0, "ep": 1.0, **layout})
    decoder = Decoder.of(decoder_numbers(configs.load_model(model)))
    return Pass(decoder, split, Load(batch, 2048.0, 0.0, 1.0, 0.0)).work()


def total(ops, kind, of):
    return float(sum(of(op) for op in ops if isinstance(op, kind)))


def test_sharing_sequences_reads_each_cache_once():
    """Pope et al. 2022, section 3.3: multiquery attention split over heads reads the whole cache on every chip."""

    def read(op):
        return op.count * op.batch * op.kv_heads * op.tokens

    def computed(op):
        return op.count * op.batch * op.heads * op.tokens

    copied, shared = pass_of(), pass_of(shares_batch=1.0)
    assert total(copied, DecodeAttention, read) == pytest.approx(64 * total(shared, DecodeAttention, read))
    assert total(copied, DecodeAttention, computed) == pytest.approx(total(shared, DecodeAttention, computed))
    messages = [{op.name for op in ops if isinstance(op, Message)} for ops in (shared, copied)]
    assert messages[0] - messages[1] == {"share queries", "return values"}


def test_two_dimensional_layout_moves_what_the_paper_says():
    """Section 3.2.2: 8 B L E / sqrt(n) per block with F = 4 E and X = sqrt(n) / 2; here a gated block sums twice F."""
    ops = {op.name: op for op in pass_of(width_tp=4.0) if isinstance(op, Message)}
    assert "all-reduce" not in ops
    model = configs.load_model("palm-540b")
    width = 2.0 * 512 * model.d_model  # bytes of the residual
    per_layer = {name: float(op.message_bytes) for name, op in ops.items()}
    assert per_layer["gather width"] == per_layer["scatter width"] == pytest.approx(width / 4)
    # 4 E of hidden features and 48 x 256 of heads over 16 chips.
    assert per_layer["gather features"] == pytest.approx(2.0 * 512 * (4 * model.d_model + 48 * 256) / 16)
    assert float(ops["gather width"].link_share) == pytest.approx(2 / 3)
    assert float(ops["sum features"].link_share) == pytest.approx(1 / 3)


def test_open_ends_of_a_torus_halve_its_links():
    """Slices of TPU v5e below 16 x 16 have no closed rings: throughput-bound collectives take twice as long."""
    chip, engine = configs.load_chip("tpu-v5e"), configs.load_engine("xla")
    how = recipe_of(configs.load_model("llama-3-70b"), "bf16")
    given = device_numbers(chip, configs.kernels_of(chip), engine, how, closed=False)
    device = Device.of(given)
    small, large = (float(device._message(Message("x", "all_gather", 1.0, 1e9, n)).seconds) for n in (255.0, 256.0))
    assert small / large == pytest.approx(2.0, rel=0.01)
    inside = float(device._message(Message("x", "all_gather", 1.0, 1e9, 16.0, 0.5, 256.0)).seconds)
    assert inside == pytest.approx(2.0 * large, rel=0.07)  # one of two axes, 15/16 of the message


def test_an_ideal_engine_adds_nothing():
    numbers = engine_numbers(configs.load_engine("ideal"))
    adds = [name for name in numbers if name.endswith("_s")] + ["collective_ratio", "stream_passes", "reserve_bytes"]
    assert all(numbers[name] == 0.0 for name in adds)
    assert numbers["kv_fraction"] == 1.0
    sets = configs.kernels_of(configs.load_chip("h100-sxm"), "ideal")
    assert not sets.measured("gemm", "bf16")
    assert {one.origin for variants in sets.sets.values() for one in variants.values()} == {"ideal"}


def test_derived_sets_say_that_nothing_was_timed():
    for chip in ("tpu-v4", "tpu-v7", "gaudi3", "trainium1"):
        facts = configs.kernels_of(configs.load_chip(chip))
        found = facts.sets["gemm"]["fp8"]
        assert (found.timed, found.rows, found.mdape, found.log_standard_error) == (False, 0.0, None, {})
        assert not facts.measured("gemm", "bf16")


ANCHOR = """
name = "x"
[document]
source = "y"
date = "2026"
[[anchors]]
name = "z"
quantity = "step"
model = "palm-540b"
chip = "tpu-v4"
engine = "xla"
precision = "bf16"
published = 1.0
tolerance = 0.1
where = "w"
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('model = "palm-540b"\n', "", "model is missing (quantity 'step' is that of a served model)"),
        ('"palm-540b"', '"palm-54b"', "did you mean 'palm-540b'"),
        ('"step"', '"stepp"', "did you mean 'step'"),
        ('"step"', '"drain"', "model does not belong to quantity 'drain'"),
        ("tolerance = 0.1", "tolerance = -1", "outside 0 to 10"),
    ],
)
def test_bad_anchors_are_refused_in_one_sentence(tmp_path, old, new, says):
    path = tmp_path / "a.toml"
    path.write_text(ANCHOR.replace(old, new))
    with pytest.raises(configs.ConfigError) as error:
        configs.load_anchors(str(path))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


KERNELS = """
name = "x"
[kernels]
source = "y"
date = "2026"
[kernels.set.gemm.any]
basis = "derived"
[kernels.set.gemm.any.value]
launch_s = 1.0
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('basis = "derived"', "rows = 3", "basis = 'derived'"),
        ('basis = "derived"', 'basis = "derived"\nrows = 3', "rows does not belong to a derived set"),
        ('basis = "derived"', 'basis = "guessed"', "must be one of timed, derived"),
        ('name = "x"', 'name = "x"\nlike = "tpu"', "is itself like 'systolic'"),
        ('name = "x"', 'name = "x"\nlike = "systolik"', "did you mean 'systolic'"),
    ],
)
def test_bad_kernel_sets_are_refused_in_one_sentence(tmp_path, old, new, says):
    path = tmp_path / "k.toml"
    path.write_text(KERNELS.replace(old, new))
    with pytest.raises(configs.ConfigError) as error:
        configs.load_kernels(str(path))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
