"""Numbers that the search and the training model share, and that need no jax."""

REFERENCE = (1e10, 1e12)  # parameters and tokens at which a training form's ``log`` is that of the chip-seconds
MAX_TRAINING_TOKENS = 1e18  # the most lenient model tried is the one that needs this many: a bound, not a claim
# Of bf16 runs, where searches begin: medians by chip are `training_mfu` in configs/chips.
TYPICAL_MFU = 0.4
