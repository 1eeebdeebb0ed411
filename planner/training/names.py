"""The training run's form: its numbers, and where its logarithm is taken."""

REFERENCE = (1e10, 1e12)  # parameters and tokens at which ``log`` is the logarithm of the chip-seconds
FORM = ("log", "params_exponent", "tokens_exponent", "usd_per_s", "power_w")
