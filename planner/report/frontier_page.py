"""What speed costs, as a page: the same sentences and tables as in the terminal, and the curve drawn."""

from typing import Any

from .frontier import curve, ends, mix, shared, tiers, trust, verdict, worth
from .frontier_svg import drawings
from .page import columns, grid, notes, paragraph, section, terms
from .page import page as whole
from .verdict import count

_CAPTION = (
    "The cheapest at every speed, on chips that are never idle: no batch, layout or replica is both faster and cheaper "
    "than a point of the curve. Point at a mark for what it is. Both axes are logarithmic."
)


def page(answer: dict[str, Any]) -> str:
    """Return the page of a `frontier` document that is feasible."""
    pays = " ".join(word for told in worth(answer) for word in told)
    own, one, points = tiers(answer), mix(answer), curve(answer)
    parts = [
        columns(
            section(str(own.title), grid(own), paragraph(pays)),
            section(str(one.title), grid(one), terms(shared(answer))),
        ),
        section("The ends of the curve", terms(ends(answer))),
        section(str(points.title), grid(points, spare="split")),
        section("What it rests on", terms(trust(answer)), notes(answer["warnings"])),
    ]
    picture = f"<figure>\n{drawings(answer)}\n<figcaption>{_CAPTION}</figcaption>\n</figure>"
    title = f"What speed costs: {answer['model']['name']} on {answer['chip']['id']}"
    return whole(title, verdict(answer), _context(answer), [picture, *parts], answer)


def _context(answer: dict[str, Any]) -> str:
    asked, precision = answer["requests"], answer["precision"]
    cached = f" ({count(asked['cached_tokens'])} of them cached)" if asked["cached_tokens"] else ""
    text = (
        f"Requests of {count(asked['input_tokens'])} input{cached} and {count(asked['output_tokens'])} output tokens; "
    )
    text += f"weights in {precision['weights']}, cache in {precision['kv_cache']}, {answer['engine']['name']}; "
    tried = answer["layouts_tried"]
    return text + (f"{tried:,} layouts tried." if tried > 1 else "one layout.")
