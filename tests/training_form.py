"""A training run's form for tests of what is around it: about that of a 10B model on H100."""

FORM = {"log": 18.7, "params_exponent": 0.96, "tokens_exponent": 1.03, "usd_per_s": 3.99 / 3600, "power_w": 700.0}
TRAINING = {"plan": FORM, "baseline": FORM}
