"""What the chips' training utilisations stand on, recomputed from published runs.

Errors of serving are those of `validate --serving`, of which the engine's profiles keep quantiles.
"""

import csv

import numpy as np
import pytest

import configs


def test_profiles_state_their_errors():
    """Every engine that was fitted says what its own runs, and runs on chips left out of the fit, are off by."""
    fitted = [e for e in map(configs.load_engine, configs.ids("engines")) if e.fitted]
    assert configs.PLANNING_ENGINE in {e.id for e in fitted}
    planning = configs.load_engine(configs.PLANNING_ENGINE).residuals
    assert planning["dense"]["mdape"] < planning["dense_unseen_chip"]["mdape"] < 0.1
    for engine in fitted:
        for one in engine.residuals.values():
            assert one["low"] <= one["high"]


def test_training_utilisations_are_the_medians_of_the_measured_rows(data):
    """Each shipped MFU equals the median of the measured dense rows of its chip."""
    names = {"A100-80": "a100-sxm", "H100": "h100-sxm", "TPU v4": "tpu-v4", "TPU v5e": "tpu-v5e"}
    with (data / "serving" / "training.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["kind"] == "measured" and r["arch"] == "dense"]
    for label, chip_id in names.items():
        chip = configs.load_chip(chip_id)
        found = []
        for row in rows:
            if row["chip"] != label or row["precision"] not in ("bf16", "amp_bf16", "BF16"):
                continue
            if row["mfu_pct"]:
                found.append(float(row["mfu_pct"]) / 100)
            elif row["tflops_per_chip"]:
                found.append(float(row["tflops_per_chip"]) * 1e12 / chip.peak_flops_per_s["bf16"])
        assert len(found) == chip.tables["training_mfu"]["bf16"]["rows"]
        assert chip.training_mfu["bf16"] == pytest.approx(np.median(found), abs=1e-3)
