"""Storage below HBM: what it holds, how fast it drains, what it rents for, and bad files refused in one sentence."""

import math

import pytest

import configs
from configs import ConfigError, load_storage

GIB = 2.0**30
LIFE_H = 5 * 8766.0  # hours of five years
# Google Cloud, US dollars per GiB and hour: memory of C3 machines, Local SSD on demand and committed for three years.
MEMORY, SSD, COMMITTED = 0.00456, 0.000109589, 0.000049315
FLASH = 10_950 / 30.72  # US dollars per TB: a 30.72 TB drive early in 2026


def test_faster_storage_is_dearer_to_hold_and_cheaper_to_fetch_from():
    """Down the tiers a held byte gets cheaper and a fetched one dearer: else a tier would never be worth having."""
    tiers = [load_storage(name) for name in ("ddr5", "nvme", "disk")]
    hold = [one.usd_per_hour / one.bytes for one in tiers]
    fetch = [one.usd_per_hour / configs.HOUR_S / one.bytes_per_s for one in tiers]
    assert hold == sorted(hold, reverse=True)
    assert fetch == sorted(fetch)
    hbm = configs.load_chip("h100-sxm")
    assert hbm.usd_per_hour
    assert hold[0] < hbm.usd_per_hour / hbm.hbm_bytes


@pytest.mark.parametrize(
    ("name", "low_s", "high_s"),
    [
        ("ddr5", 1, 10),  # the lecture's guess holds
        ("nvme", 5 * 60, 15 * 60),  # it guesses about 1 min
        ("nvme-30tb", 3600, 5400),
        ("disk", 18 * 3600, 30 * 3600),  # it guesses about 1 h
        ("object-store", 2 * 86400, 3 * 86400),
    ],
)
def test_real_devices_drain_slower_than_the_lecture_recalls(name, low_s, high_s):
    assert low_s <= load_storage(name).drain_s <= high_s


@pytest.mark.parametrize("name", configs.ids("storage"))
def test_storage_is_sourced(name):
    one = load_storage(name)
    assert one.id == name
    for table in ("capacity", "read", "price"):
        assert one.tables[table]["source"]
        assert one.tables[table].get("retrieved") or one.tables[table].get("date")
    assert math.isclose(one.drain_s, one.bytes / one.bytes_per_s)


@pytest.mark.parametrize(
    ("name", "low", "price", "high"),
    [
        ("ddr5", 4 * 700 / LIFE_H, 256 * MEMORY * 0.45, 256 * MEMORY),
        ("nvme", 3.84 * FLASH / LIFE_H, 3.84e12 / GIB * COMMITTED, 3.84e12 / GIB * SSD),
        ("nvme-30tb", 30.72 * FLASH / LIFE_H, 30.72e12 / GIB * COMMITTED, 30.72e12 / GIB * SSD),
        ("disk", 20 * FLASH / 16.4 / LIFE_H, 20 * 6 / 730, 20e12 / GIB * 0.000054795),
        ("object-store", 5 * 2**50 / 1e12 * 6 / 730, 5 * 2**20 * 0.018 / 730, 5 * 2**20 * 0.11 / 730),
    ],
)
def test_rents_follow_from_their_sources(name, low, price, high):
    table = load_storage(name).tables["price"]
    told = [table[f"{end}usd_per_hour"] for end in ("low_", "", "high_")]
    assert told == pytest.approx([low, price, high], rel=5e-3)


GOOD = (configs.catalog.ROOT / "storage" / "nvme.toml").read_text()
BAD = {
    "unknown key": ("gb = 3840.0", "gib = 3840.0", "capacity.gib is not a known key"),
    "bytes": ("gb = 3840.0", "gb = 3840e9", "outside 1 to 1e+09: give it in GB (1e9 bytes)"),
    "no rate": ("\ngb_per_s = 6.8", "", "read.gb_per_s is missing"),
    "negative": ("\nusd_per_hour = 0.176", "\nusd_per_hour = -1", "price.usd_per_hour = -1 is outside"),
    "free": ("low_usd_per_hour = 0.0312", "low_usd_per_hour = 0", "price.low_usd_per_hour = 0 is outside"),
    "rate outside its range": ("high_gb_per_s = 12.0", "high_gb_per_s = 5.0", "low_gb_per_s = 3.4 to 5"),
    "price outside its range": (
        "low_usd_per_hour = 0.0312",
        "low_usd_per_hour = 0.3",
        "price.usd_per_hour = 0.176 must",
    ),
    "nothing binds": ('binds = "the drive"\n', "", "read.binds is missing"),
    "words": ("gb = 3840.0", 'gb = "3840"', "must be a number in GB"),
    "no price": (GOOD[GOOD.index("[price]") :], "", "price is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence(case, tmp_path):
    old, new, says = BAD[case]
    assert old in GOOD
    path = tmp_path / "own.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_storage(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names():
    with pytest.raises(ConfigError, match=r"unknown storage 'nvm'; did you mean 'nvme"):
        load_storage("nvm")
