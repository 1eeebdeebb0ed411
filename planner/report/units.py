"""Numbers as people say them aloud."""

_SCALES = ((1e15, "quadrillion"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def say(value: float, unit: str = "", digits: int = 3) -> str:
    """Return ``value`` with a spoken scale: 15.6 B, 41.1 T, 402."""
    for scale, name in _SCALES:
        if abs(value) >= scale * (1.0 - 0.5 * 10.0**-digits):
            return f"{value / scale:.{digits}g} {name}{unit}" if value / scale < 1000 else f"{value:.{digits}g}{unit}"
    return f"{value:.{digits}g}{unit}"


def dollars(value: float) -> str:
    """Return US dollars: $41.2 M."""
    return "$" + say(value)


def seconds(value: float) -> str:
    """Return a duration in the unit it is spoken in: 40.0 ms, 1.25 s."""
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value:.3g} s"


def percent(fraction: float) -> str:
    """Return a fraction as per cent: 76.4 %."""
    return f"{100.0 * fraction:.3g} %"


def energy(joules: float) -> str:
    """Return energy as utilities bill it: 927 MWh."""
    hours = joules / 3600.0
    for scale, name in ((1e12, "TWh"), (1e9, "GWh"), (1e6, "MWh"), (1e3, "kWh")):
        if abs(hours) >= scale:
            return f"{hours / scale:.3g} {name}"
    return f"{hours:.3g} Wh"
