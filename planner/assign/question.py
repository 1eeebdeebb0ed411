"""What is asked of an assignment: tasks, offers, the habit to compare with; checked before anything is priced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import configs
from configs.offers import CatalogueFacts, OfferFacts, load_offers

from .tasks import Tasks, read


@dataclass(frozen=True)
class Question:
    """Tasks, a catalogue of offers and ``habit``, the one (by number) that would serve all tasks; ``habit_given`` says
    whether the user named it. An offer keeps a deadline if ``deadline_margin`` times its latency does. ``per`` is what
    the table's requests are counted over, if anything."""

    tasks: Tasks
    catalogue: CatalogueFacts
    habit: int
    habit_given: bool
    deadline_margin: float
    per: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Question":
        """Return the question that settings of `configs.ASSIGN_SETTINGS` ask.

        Raises:
            configs.ConfigError: a setting is missing, names nothing known, or a table cannot be read.
        """
        for name, what in (("tasks", "a CSV table with one task per line"), ("offers", "a catalogue of offers, TOML")):
            if name not in given:
                raise configs.ConfigError(f"--{name} is missing: give {what}")
        catalogue = load_offers(given["offers"])
        ids = [offer.id for offer in catalogue.offers]
        if "habit" in given and given["habit"] not in ids:
            hint = configs.nearest(given["habit"], ids) or f" (it has {', '.join(ids)})"
            raise configs.ConfigError(
                f"--habit = '{configs.shown(given['habit'])}' is no offer of {configs.shown(given['offers'])}{hint}"
            )
        return cls(
            tasks=read(given["tasks"], given.get("value_usd_per_hour", 0.0)),
            catalogue=catalogue,
            habit=ids.index(given["habit"]) if "habit" in given else best(catalogue.offers),
            habit_given="habit" in given,
            deadline_margin=given.get("deadline_margin", 1.0),
            per=given.get("per"),
        )


def best(offers: tuple[OfferFacts, ...]) -> int:
    """Return the offer of the highest quality, if it can at once and in the tier standard: the habit of most people."""

    def rank(i: int) -> tuple[bool | float, ...]:
        offer = offers[i]
        return offer.turnaround_s is None, offer.quality, offer.tier == "standard", -i

    return max(range(len(offers)), key=rank)
