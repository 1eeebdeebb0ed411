"""Numbers as people say them aloud."""

from decimal import Decimal

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
    """Return a duration in the unit it is spoken in: 40.0 ms, 1.25 s, 1,820 s."""
    if abs(value) >= 999.5:
        return f"{value:,.0f} s"
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")):
        if abs(value) >= scale * (1.0 - 5e-4):  # 0.9996 is 1 s, not 1e+03 ms
            return f"{value / scale:.3g} {name}"
    return f"{value:.3g} s"


def duration(value: float) -> str:
    """Return a time of any length: 24 ms, 16.5 s, 7.03 min, 11.7 h, 35.8 days."""
    for scale, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if value >= 1.5 * scale:
            return f"{value / scale:,.3g} {name}"
    return seconds(value)


def price(usd: float) -> str:
    """Return US dollars as a price list prints them: $132, $1.10, $0.295, $0.0375, $0.000084."""
    if abs(usd) >= 99.95:
        return f"${usd:,.0f}"
    if abs(usd) >= 0.0995:
        return f"${usd:.2f}" if abs(usd) >= 0.9995 else f"${usd:.3f}"
    return f"${usd:.3g}" if abs(usd) >= 1e-4 or usd == 0.0 else f"${Decimal(f'{usd:.2g}'):f}"  # no exponents


def gigabytes(value: float) -> str:
    """Return bytes in GB of 1e9: 65.2 GB, 0.3 GB, 1,340 GB."""
    giga = value / 1e9
    return f"{giga:,.1f} GB" if abs(giga) < 999.95 else f"{giga:,.0f} GB"


def percent(fraction: float) -> str:
    """Return a fraction as per cent: 76.4 %, 1,240 %."""
    return f"{100.0 * fraction:.3g} %" if abs(fraction) < 9.995 else f"{float(f'{100.0 * fraction:.3g}'):,.0f} %"


def energy(joules: float) -> str:
    """Return energy as utilities bill it: 927 MWh."""
    hours = joules / 3600.0
    for scale, name in ((1e12, "TWh"), (1e9, "GWh"), (1e6, "MWh"), (1e3, "kWh")):
        if abs(hours) >= scale:
            return f"{hours / scale:.3g} {name}"
    return f"{hours:.3g} Wh"


def energy_per(joules: float) -> str:
    """Return energy of one thing: 1.2 J, 350 mJ, 247 MJ."""
    for factor, unit in ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")):
        if abs(joules) >= 0.9995 * factor:
            return f"{joules / factor:.3g} {unit}"
    return f"{joules:.3g} J" if abs(joules) >= 0.9995 else f"{1e3 * joules:.3g} mJ"


def grams_of(value: float) -> str:
    """Return grams: 48.7 g, 68.8 mg, 1.34 kg."""
    for scale, name in ((1e3, "kg"), (1.0, "g")):
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:.3g} {name}"
    return f"{1e3 * value:.3g} mg"


def amount(value: float, unit: str) -> str:
    """Return a total in the objective's unit: usd, joules or flops."""
    return {"usd": dollars, "joules": energy, "flops": lambda f: f"{f:.4g} FLOPs"}[unit](value)
