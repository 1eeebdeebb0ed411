"""What the world asks of the model over its life."""

import equinox as eqx

from hw import Scalar

from ..serving.replica import Requests


class Demand(eqx.Module):
    """Lifetime tokens, prompt and answer together, spread over ``lifetime_s`` seconds of service.

    The fleet is sized for the busiest time, ``peak_to_mean`` times the mean rate, and runs all along.
    """

    lifetime_tokens: Scalar
    requests: Requests
    lifetime_s: Scalar
    peak_to_mean: Scalar

    def request_count(self) -> Scalar:
        """Return requests over the whole life."""
        return self.lifetime_tokens / (self.requests.input_tokens + self.requests.output_tokens)

    def mean_rate(self) -> Scalar:
        """Return requests per second on average."""
        return self.request_count() / self.lifetime_s

    def peak_rate(self) -> Scalar:
        """Return requests per second at the busiest time."""
        return self.mean_rate() * self.peak_to_mean


class Slo(eqx.Module):
    """Latency promises in seconds: mean time per output token and time to first token."""

    tpot_s: Scalar
    ttft_s: Scalar
