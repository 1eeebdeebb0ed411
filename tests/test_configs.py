"""Every shipped fact file loads, is sourced, and agrees with the data it was taken from."""

import csv

import pytest

import configs

CHIPS = [
    "a100-sxm",
    "a100-sxm-40gb",
    "a100-pcie",
    "h100-sxm",
    "h100-pcie",
    "h100-nvl",
    "gh200",
    "h20",
    "h800",
    "h200-sxm",
    "b200-sxm",
    "b300-sxm",
    "gb200",
    "gb300",
    "l4",
    "l40s",
    "a40",
    "v100-sxm",
    "rtx-pro-6000",
    "rtx-4090",
    "rtx-3090",
    "b60",
    "mi300x",
    "mi325x",
    "mi355x",
    "gaudi2",
    "gaudi3",
    "trainium1",
    "trainium2",
    "inferentia2",
    "ascend-910b",
    "m3-max",
    "tpu-v4",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "tpu-v7",
]
LAWS = {"epoch-2024", "besiroglu-2024", "hoffmann-2022", "hoffmann-2022-rounded", "sardana-2024-code"}


def test_every_promised_id_ships():
    assert set(CHIPS) == set(configs.ids("chips"))
    assert set(configs.ids("laws")) >= LAWS
    assert len(configs.ids("scenarios")) >= 6


@pytest.mark.parametrize("chip", CHIPS)
def test_chips_are_physical(chip):
    facts = configs.load_chip(chip)
    # Every accelerator here computes 10 to 800 bf16 FLOPs per byte it can read, and draws under 4 kW.
    assert 10 < facts.peak_flops_per_s["bf16"] / facts.hbm_bytes_per_s < 800
    assert facts.hbm_bytes_per_s > facts.link_bytes_per_s or chip.startswith("b60")
    assert facts.peak_flops_per_s.get("fp8", 1e30) >= facts.peak_flops_per_s["bf16"]
    assert 1e-3 < facts.hbm_bytes / facts.hbm_bytes_per_s < 0.5
    if facts.usd_per_hour is not None:
        price = facts.tables["price"]
        assert price.get("low_usd_per_hour", 0) <= facts.usd_per_hour <= price.get("high_usd_per_hour", 1e9)


def test_chips_agree_with_the_calibration_tables(data):
    names = {
        "a100_sxm": "a100-sxm", "h100_sxm": "h100-sxm", "h200_sxm": "h200-sxm", "b200_sxm": "b200-sxm",
        "gb200": "gb200", "gb300": "gb300", "l40s": "l40s", "b60": "b60",
    }  # fmt: skip
    with (data / "kernels" / "chips.csv").open() as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    for system, chip in names.items():
        facts, row = configs.load_chip(chip), rows[system]
        # GB against GiB is 7.4 %; peaks and bandwidths are the same datasheet.
        assert facts.hbm_bytes == pytest.approx(float(row["hbm_bytes"]), rel=0.08)
        assert facts.peak_flops_per_s["bf16"] == pytest.approx(float(row["peak_bf16"]), rel=0.01)
        assert facts.hbm_bytes_per_s == pytest.approx(float(row["hbm_bw"]), rel=0.01)


def test_laws_agree_with_the_published_table(data):
    names = {
        "hoffmann_a3_rounded": "hoffmann-2022-rounded",
        "sardana_code_constants": "sardana-2024-code",
        "besiroglu_2024": "besiroglu-2024",
        "epoch240_exact_optimum": "epoch-2024",
    }
    with (data / "scaling" / "laws.csv").open() as file:
        rows = {row["law_id"]: row for row in csv.DictReader(file)}
    for published, law in names.items():
        pairs = dict(item.split("=") for item in rows[published]["coefficients"].split(";"))
        assert configs.load_law(law).coefficients == {k: float(v) for k, v in pairs.items()}


def test_sardana_refits_minimise_the_huber_loss(data):
    """The four refits are stationary: no coefficient moved by 1 % in either direction lowers the loss."""
    import numpy as np

    with (data / "scaling" / "sardana_47_runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    N, D, L, ratio = (
        np.array([float(r[c]) for r in runs])
        for c in ("n_params", "d_tokens", "loss_nats_smoothed_train", "tokens_per_param")
    )

    def huber(c, keep):
        law = c["E"] + c["A"] * N ** -c["alpha"] + c["B"] * D ** -c["beta"]
        z = np.abs(np.log(law[keep] / L[keep]))
        return np.where(z < 1e-3, 0.5 * z * z, 1e-3 * (z - 5e-4)).sum()

    for cap in (100, 250, 500, 10_000):
        law = configs.load_law("sardana-2024-all" if cap == 10_000 else f"sardana-2024-le{cap}").coefficients
        keep = ratio <= cap * 1.01
        best = huber(law, keep)
        for name in law:
            for factor in (0.99, 1.01):
                assert huber({**law, name: law[name] * factor}, keep) > best


def test_code_workload_is_the_mean_of_its_trace(data):
    with (data / "traces" / "azure_llm_2023_code.csv").open() as file:
        rows = list(csv.DictReader(file))
    workload = configs.load_workload("code")
    for field, column in (("input_tokens", "ContextTokens"), ("output_tokens", "GeneratedTokens")):
        mean = sum(int(row[column]) for row in rows) / len(rows)
        assert getattr(workload, field) == pytest.approx(mean, abs=0.006)  # printed to two decimals


@pytest.mark.parametrize(
    ("called", "chip"),
    [("h100", "h100-sxm"), ("NVIDIA H100", "h100-sxm"), ("H100-SXM", "h100-sxm"), ("B200", "b200-sxm"),
     ("A100-80", "a100-sxm"), ("Trillium", "tpu-v6e"), ("TPU7x (Ironwood)", "tpu-v7"), ("MI300X", "mi300x"),
     ("NVIDIA A100-PCIE-40GB", "a100-pcie"), ("rtx_4090", "rtx-4090")],
)  # fmt: skip
def test_chips_go_by_what_people_call_them(called, chip):
    assert configs.chip_named(called) == configs.load_chip(called).id == chip


def test_no_two_chips_share_a_name():
    names = [(n, c.id) for c in map(configs.load_chip, configs.ids("chips")) for n in (c.id, c.name, *c.aliases)]
    assert {name: configs.chip_named(name) for name, _ in names} == dict(names)
