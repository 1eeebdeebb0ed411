"""Tasks to models and tiers: equal to brute force, no promise broken, what promises cost by solving again."""

from dataclasses import replace
from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from configs.cards import Price
from configs.offers import CatalogueFacts, OfferFacts
from planner.assign import choice
from planner.assign.answer import assign
from planner.assign.choice import LIMITS, chunks
from planner.assign.question import Question, best
from planner.assign.tasks import Tasks

SHIPPED = "artificial-analysis-2025-11"
SCALE = {"quality": {"scale": "points", "source": "a test", "date": "2026"}}
USD = st.sampled_from([0.1, 0.5, 1.0, 3.0, 15.0])
TOKENS = st.sampled_from([0.0, 1.0, 100.0, 2e3, 1e5, 2e5, 3e5])


def offer(name, quality=50.0, usd=(1.0, 5.0), speed=50.0, ttft=0.5, **more):
    """An offer of one price at all lengths that answers at once."""
    price = Price(tier="standard", input=usd[0], output=usd[1])
    known = {"id": name, "model": name, "tier": "standard", "quality": quality, "prices": (price,), "card": None}
    timed = {"ttft_s": ttft, "input_tokens_per_s": None, "output_tokens_per_s": speed, "turnaround_s": None}
    return OfferFacts(**{**known, **timed, "context_window_tokens": None, "output_ratio": 1.0, **more})


def batch(name, hours=24.0, **more):
    return offer(name, ttft=None, speed=None, turnaround_s=3600.0 * hours, tier="batch", **more)


def tasks(*rows, **columns):
    """Tasks of (input, cached, output, requests, quality, deadline, value) each."""
    table = np.array(rows, float).reshape(-1, 7)
    names = (
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "requests",
        "quality",
        "deadline_s",
        "value_usd_per_hour",
    )
    given = {name: table[:, i] for i, name in enumerate(names)} | columns
    return Tasks(np.arange(2, len(table) + 2), "line", None, **given, unused=())


def asked(some, offers, habit=None, margin=1.0, per=None):
    catalogue = CatalogueFacts("test", "A test", "points", "", tuple(offers), SCALE)
    return Question(some, catalogue, best(catalogue.offers) if habit is None else habit, habit is not None, margin, per)


@st.composite
def offers_drawn(draw, name, model):
    edge = draw(st.sampled_from([None, 2e5]))
    first = Price("standard", draw(USD), draw(USD), draw(st.none() | st.just(0.05)), max_context_tokens=edge or inf)
    prices = (first,)
    if edge and draw(st.booleans()):
        prices += (replace(first, input=2 * first.input, min_context_tokens=edge, max_context_tokens=inf),)
    more = {"prices": prices, "model": model, "quality": draw(st.sampled_from([30.0, 42.0, 50.0]))}
    if draw(st.booleans()) and draw(st.booleans()):
        return batch(name, draw(st.sampled_from([0.01, 24.0])), **more)
    reads = draw(st.sampled_from([None, 1e4]))
    window = draw(st.sampled_from([None, 1e5, 4e5]))
    ratio = draw(st.sampled_from([1.0, 3.0]))
    more |= {"input_tokens_per_s": reads, "context_window_tokens": window, "output_ratio": ratio}
    return offer(name, speed=draw(st.sampled_from([20.0, 100.0])), ttft=draw(st.sampled_from([0.1, 2.0])), **more)


@st.composite
def questions(draw, most_tasks=4, most_offers=4):
    count = draw(st.integers(1, most_offers))
    offers = [draw(offers_drawn(f"offer {i}", f"model {i % 2}")) for i in range(count)]
    rows = []
    for _ in range(draw(st.integers(1, most_tasks))):
        prompt = draw(TOKENS)
        cached = prompt * draw(st.sampled_from([0.0, 0.5, 1.0]))
        need, deadline = (
            draw(st.sampled_from([0.0, 30.0, 41.0, 50.0, 51.0])),
            draw(st.sampled_from([1.0, 60.0, 1e5, inf])),
        )
        worth = draw(st.sampled_from([0.0, 1.0, 500.0]))
        rows.append((prompt, cached, draw(TOKENS) / 100.0, draw(st.sampled_from([1.0, 7.0])), need, deadline, worth))
    margin, habit = draw(st.sampled_from([1.0, 2.0])), draw(st.integers(0, count - 1))
    return asked(tasks(*rows), offers, habit, margin)


def told(question, task, number):
    """What one request of a task takes on an offer by the definition, one number after another: (US dollars, seconds,
    US dollars with waiting), or None in place of them where the prompt does not fit."""
    t, o = question.tasks, question.catalogue.offers[number]
    prompt, cached, answer = float(t.input_tokens[task]), float(t.cached_tokens[task]), float(t.output_tokens[task])
    written = answer * o.output_ratio
    steps = [p for p in o.prices if prompt <= p.max_context_tokens and (prompt > p.min_context_tokens or not prompt)]
    steps = steps or [p for p in o.prices if p.min_context_tokens <= prompt <= p.max_context_tokens]
    if not steps or (o.context_window_tokens and prompt + written > o.context_window_tokens):
        return None
    old = steps[0].input if steps[0].cached_input is None else steps[0].cached_input
    usd = ((prompt - cached) * steps[0].input + cached * old + written * steps[0].output) * 1e-6
    seconds = o.turnaround_s
    if seconds is None:
        seconds = o.ttft_s + written / o.output_tokens_per_s
        if o.input_tokens_per_s:
            seconds += (prompt - cached) / o.input_tokens_per_s
    return usd, seconds, usd + float(t.value_usd_per_hour[task]) * seconds / 3600.0


def keeps(question, task, number):
    """Say whether an offer keeps every promise to a task."""
    found, t = told(question, task, number), question.tasks
    if found is None or question.catalogue.offers[number].quality < t.quality[task]:
        return False
    return question.deadline_margin * found[1] <= t.deadline_s[task]


@settings(max_examples=200)
@given(questions())
def test_no_assignment_at_all_is_cheaper(question):
    """Every way to give tasks to offers is tried: among those that serve as many tasks, none costs less."""
    chosen, n = choice.choose(question), len(question.tasks)
    ways = []
    for way in product(range(-1, len(question.catalogue.offers)), repeat=n):
        if all(number < 0 or keeps(question, task, number) for task, number in enumerate(way)):
            costs = [told(question, i, j)[2] * question.tasks.requests[i] for i, j in enumerate(way) if j >= 0]
            ways.append((-len(costs), sum(costs)))
    served = chosen.offer >= 0
    ours = float((chosen.total_usd * question.tasks.requests)[served].sum())
    count, least = min(ways)
    assert served.sum() == -count
    assert ours == pytest.approx(least, rel=2e-9, abs=1e-15)


@settings(max_examples=200)
@given(questions(most_tasks=8, most_offers=6))
def test_no_promise_is_broken_and_every_number_is_what_it_says(question):
    chosen, offers = choice.choose(question), question.catalogue.offers
    for task, number in enumerate(chosen.offer):
        able = [j for j in range(len(offers)) if keeps(question, task, j)]
        assert (number >= 0) == bool(able)
        if number < 0:
            assert LIMITS[chosen.limit[task]]
            assert np.isnan(chosen.total_usd[task])
            continue
        assert number in able
        usd, seconds, total = told(question, task, number)
        assert chosen.paid_usd[task] == pytest.approx(usd, rel=1e-12)
        assert chosen.latency_s[task] == pytest.approx(seconds, rel=1e-12)
        assert chosen.total_usd[task] == pytest.approx(total, rel=1e-12)
        others = [told(question, task, j)[2] for j in able if j != number]
        assert chosen.rival_usd[task] == pytest.approx(min(others, default=inf), rel=2e-9)
        assert chosen.patient_usd[task] == pytest.approx(min(told(question, task, j)[0] for j in able), rel=2e-9)
        assert (chosen.habit_limit[task] == 0) == (question.habit in able)


def same(question, **changes):
    return replace(question, tasks=replace(question.tasks, **changes))


def least(question):
    """The totals of one request of each task, infinite where no offer serves it."""
    total = choice.choose(question).total_usd
    return np.where(np.isnan(total), inf, total)


@settings(max_examples=100)
@given(questions(most_tasks=8, most_offers=6))
def test_what_promises_cost_is_what_solving_again_without_them_finds(question):
    chosen, need = choice.choose(question), question.tasks.quality
    close = {"rtol": 4e-9, "atol": 1e-15}
    free = np.full(len(need), inf)
    np.testing.assert_allclose(chosen.no_deadline_usd, least(same(question, deadline_s=free)), **close)
    np.testing.assert_allclose(chosen.any_quality_usd, least(same(question, quality=0.0 * need)), **close)
    steps = np.unique([o.quality for o in question.catalogue.offers])
    below = [[s for s in steps if s < min((x for x in steps if x >= q), default=inf)] for q in need]
    lower = np.array([low[-1] if low else q for low, q in zip(below, need, strict=True)])
    np.testing.assert_allclose(chosen.lower_quality_usd, least(same(question, quality=lower)), **close)


@settings(max_examples=100)
@given(questions(most_tasks=8, most_offers=5), st.integers(0, 4), st.sampled_from([1.5, 4.0]))
def test_more_asked_never_costs_less_and_more_offered_never_more(question, number, factor):
    base, t, offers = least(question), question.tasks, question.catalogue.offers
    slack = 1.0 - 4e-9
    for harder in (
        same(question, deadline_s=t.deadline_s / factor),
        same(question, quality=t.quality + factor),
        same(question, value_usd_per_hour=t.value_usd_per_hour * factor),
        same(question, input_tokens=t.input_tokens * factor, cached_tokens=t.cached_tokens),
        replace(question, deadline_margin=question.deadline_margin * factor),
    ):
        assert (least(harder) >= base * slack).all()
    dear = offers[number % len(offers)]
    prices = tuple(replace(p, input=p.input * factor, output=p.output * factor) for p in dear.prices)
    raised = [replace(o, prices=prices) if o is dear else o for o in offers]
    assert (least(asked(t, raised, question.habit, question.deadline_margin)) >= base * slack).all()
    more = [*offers, offer("another", quality=45.0, usd=(0.2, 0.9))]
    assert (least(asked(t, more, question.habit, question.deadline_margin)) * slack <= base).all()


@settings(max_examples=50)
@given(questions(most_tasks=6), st.sampled_from([2.0, 1000.0]))
def test_the_document_adds_up_and_scales_with_requests(question, factor):
    answer, chosen = assign(question)
    served = chosen.offer >= 0
    assert answer["status"] == ("ok" if served.all() else "infeasible")
    assert answer["served"]["tasks"] + answer["unserved"]["tasks"] == answer["tasks"]
    assert sum(answer["unserved"]["by_limit"].values()) == answer["unserved"]["tasks"]
    for key in ("tasks", "requests"):
        assert sum(row[key] for row in answer["mix"]) == pytest.approx(answer["served"][key])
    assert answer["total_usd"] == pytest.approx(answer["paid_usd"] + answer["waiting_usd"])
    assert sum(row["total_usd"] for row in answer["mix"]) == pytest.approx(answer["total_usd"])
    habit, premium = answer["habit"], answer["premium"]
    assert habit["saving_usd"] == pytest.approx(habit["total_usd"] - habit["assigned_usd"], abs=1e-8)
    assert 0.0 <= habit["saving_fraction"] <= 1.0
    assert sum(premium["because_tasks"].values()) == premium["tasks"]
    more, _ = assign(same(question, requests=question.tasks.requests * factor))
    assert more["total_usd"] == pytest.approx(answer["total_usd"] * factor)
    assert more["habit"]["saving_fraction"] == pytest.approx(habit["saving_fraction"])
    assert [row["offer"] for row in more["mix"]] == [row["offer"] for row in answer["mix"]]


def test_a_price_step_holds_up_to_its_end():
    first = Price("standard", 2.0, 12.0, max_context_tokens=2e5)
    second = replace(first, input=4.0, output=18.0, min_context_tokens=2e5, max_context_tokens=1e6)
    steps = offer("steps", prices=(first, second))
    rows = [(2e5, 0, 100, 1, 0, inf, 0), (2e5 + 1, 0, 100, 1, 0, inf, 0), (1e6 + 1, 0, 100, 1, 0, inf, 0)]
    chosen = choice.choose(asked(tasks(*rows), [steps]))
    assert chosen.paid_usd[0] == pytest.approx(0.4 + 0.0012)
    assert chosen.paid_usd[1] == pytest.approx(0.800004 + 0.0018)
    assert LIMITS[chosen.limit[2]] == "context"


def test_equals_go_to_the_habit_and_then_to_the_best():
    twins = [offer("plain", 42.0), offer("better", 50.0), offer("usual", 42.0)]
    row = (1000, 0, 100, 1, 0, inf, 0)
    assert choice.choose(asked(tasks(row), twins)).offer.tolist() == [1]
    question = asked(tasks(row), twins, habit=2)
    assert choice.choose(question).offer.tolist() == [2]
    answer, _ = assign(question)
    assert answer["ties"]["tasks"] == 1
    assert answer["habit"]["saving_usd"] == answer["habit"]["moved_tasks"] == 0


def test_the_faster_tier_pays_from_its_break_even():
    """2.5 times the speed at 6 times the price, as fast modes are sold: per token, 5 p over 0.6 / v seconds."""
    slow, fast = offer("slow", usd=(5.0, 25.0), speed=50.0), offer("fast", usd=(30.0, 150.0), speed=125.0, model="slow")
    row = (0, 0, 1000, 1, 0, inf, 0)
    answer, _ = assign(asked(tasks(row), [slow, fast]))
    (found,) = answer["break_even"]
    worth = 5 * 25e-6 / (0.6 / 50.0) * 3600.0
    assert found["usd_per_hour"]["p50"] == pytest.approx(worth)
    assert (found["slower"], found["faster"]) == ("slow", "fast")
    for factor, number in ((0.99, 0), (1.01, 1)):
        question = asked(tasks(row, value_usd_per_hour=np.array([factor * worth])), [slow, fast])
        assert choice.choose(question).offer.tolist() == [number]


def test_why_the_best_model_is_taken():
    best_one = offer("best", 60.0, usd=(5.0, 25.0), speed=100.0)
    offers = [best_one, offer("cheap", 50.0, speed=10.0), offer("short", 50.0, context_window_tokens=1e3)]
    rows = [
        (100, 0, 10, 1, 55, inf, 0),  # nothing else is good enough
        (2000, 0, 100, 1, 50, 5, 0),  # the cheap one takes 10.5 s, the short one holds no such prompt
        (100, 0, 100, 1, 50, 2, 0),  # both others take longer than 2 s
        (2000, 0, 1000, 1, 50, inf, 1e4),  # waiting costs more than tokens
    ]
    answer, chosen = assign(asked(tasks(*rows), offers))
    assert chosen.offer.tolist() == [0, 0, 0, 0]
    assert answer["premium"]["because_tasks"] == {"quality": 1, "context": 0, "deadline": 2, "cost": 1}


@pytest.mark.parametrize(
    ("row", "limit", "deadline", "quality"),
    [
        ((100, 0, 100, 1, 70, inf, 0), "quality", None, 60),
        ((100, 0, 1000, 1, 60, 10, 0), "deadline", 20.5, 50),
        ((100, 0, 1000, 1, 60, 1, 0), "deadline", 20.5, None),
        ((1e6, 0, 10, 1, 50, inf, 0), "context", None, None),
        ((5000, 0, 10, 1, 60, inf, 0), "context", None, 50),
    ],
)
def test_a_task_that_nothing_serves_is_told_what_would_do(row, limit, deadline, quality):
    offers = [
        offer("best", 60.0, context_window_tokens=4e3),
        offer("fast", 50.0, speed=200.0, context_window_tokens=1e5),
    ]
    answer, _ = assign(asked(tasks(row), offers))
    (told_of,) = answer["unserved"]["first"]
    assert answer["status"] == "infeasible"
    assert told_of["limit"] == limit
    assert told_of["nearest"] == {"deadline_s": deadline, "quality": quality}
    for name, value in (("deadline_s", deadline), ("quality", quality)):
        if value is not None and limit in ("deadline", "quality"):
            again = asked(tasks(row, **{name: np.array([float(value)])}), offers)
            assert assign(again)[0]["status"] == "ok", name


def test_many_tasks_in_few_chunks_are_each_as_alone(monkeypatch):
    catalogue = configs.load_offers(SHIPPED)
    rng, n = np.random.default_rng(3), 100_000
    rows = np.stack(
        [rng.integers(0, 1e5, n), np.zeros(n), rng.integers(0, 1e3, n), np.ones(n), rng.choice([0, 42, 50, 60], n),
         rng.choice([1.0, 30.0, 1e5, inf], n), rng.uniform(0, 50, n)], axis=1,
    )  # fmt: skip
    calls = []
    whole = choice.grid
    monkeypatch.setattr(choice, "grid", lambda offers, t, part: calls.append(part) or whole(offers, t, part))
    chosen = choice.choose(asked(tasks(*rows), catalogue.offers))
    assert len(calls) == 7
    assert calls[0].start == 0
    assert [a.stop for a in calls] == [*(a.start for a in calls[1:]), n]
    some = rng.integers(0, n, 50)
    alone = [choice.choose(asked(tasks(rows[i]), catalogue.offers)) for i in some]
    assert [int(one.offer[0]) for one in alone] == chosen.offer[some].tolist()
    np.testing.assert_array_equal([one.total_usd[0] for one in alone], chosen.total_usd[some])
    assert len(list(chunks(5, 10**9))) == 5  # more offers than cells: one task at a time


def test_the_shipped_catalogue_is_sourced_and_of_its_cards():
    for name in configs.ids("offers"):
        catalogue = configs.load_offers(name)
        assert catalogue.note
        assert len({o.model for o in catalogue.offers}) >= 5
        for row, facts in zip(catalogue.tables["offers"], catalogue.offers, strict=True):
            assert facts.card, "prices have their source in the card"
            card = configs.load_card(facts.card)
            assert facts.prices == tuple(p for p in card.prices if p.tier == facts.tier)
            assert facts.model == card.name
            if facts.turnaround_s is not None or facts.tier != "standard":
                assert row["source"]
                assert row["date"]
        by_model = {}
        for facts in catalogue.offers:
            by_model.setdefault(facts.model, set()).add(facts.quality)
        assert all(len(qualities) == 1 for qualities in by_model.values())
