"""The pictures of frontier: the chart in the terminal, the page, and the axes of both."""

import copy
import io
import json
import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from planner.cli.frontier import frontier
from planner.report.axes import LogAxis, plain
from planner.report.frontier import curve, mix, show, tiers
from planner.report.frontier_chart import chart
from planner.report.frontier_page import page
from planner.report.verdict import figure

ONE_CHIP = {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": 1.0}
QUESTIONS = {
    "one chip": ONE_CHIP,
    "every replica": {"model": "llama-3.1-8b", "chip": "h100-sxm"},
    "experts": {"model": "qwen3-30b-a3b", "chip": "h100-sxm", "chips": 8.0},
    "no price": {"model": "llama-3.1-8b", "chip": "m3-max", "chips": 1.0},
    "tiers alike": ONE_CHIP | {"fast_speedup": 1.0},
}
VOID = {"meta", "br", "link", "img", "hr", "input"}
LETTER, FONT = 0.52 * 13.0, 13.0  # pixels, of a letter of the drawings' font on average


@cache
def answered(name: str) -> dict[str, Any]:
    """Return the document of a question; not to be changed."""
    return frontier(dict(QUESTIONS[name]))


def with_one_point(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose curve and tiers are one point."""
    out = copy.deepcopy(answer)
    out["points"] = [out["points"][-1]]
    for tier in out["tiers"]:
        tier |= out["points"][0]
    return out


Element = tuple[str, dict[str, str], list[str]]  # a tag, its attributes, its text


class Reader(HTMLParser):
    """Reads a page: its elements, whether all are closed, and the texts of each drawing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[Element] = []
        self.found: list[Element] = []
        self.drawings: list[tuple[dict[str, str], list[Element]]] = []
        self.feed(text)
        self.close()
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag, attrs):
        element = (tag, {name: value or "" for name, value in attrs}, [])
        assert len(element[1]) == len(attrs), "an attribute is given twice"
        self.found.append(element)
        if tag == "svg" and "plot" in element[1].get("class", ""):
            self.drawings.append((element[1], []))
        if tag == "text":
            self.drawings[-1][1].append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2].append(data)

    def texts(self, tag: str) -> list[str]:
        """Return the text of every element of a kind."""
        return ["".join(data) for name, _, data in self.found if name == tag]

    def data(self) -> dict[str, Any]:
        """Return the document that the page holds."""
        (text,) = self.texts("script")
        return json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} in the JSON"))


@pytest.fixture(params=[*QUESTIONS, "one point"])
def answer(request) -> dict[str, Any]:
    if request.param == "one point":
        return with_one_point(answered("one chip"))
    return answered(request.param)


# The page


def test_a_page_parses_and_holds_its_document(answer):
    read = Reader(page(answer))
    assert read.data() == answer
    (title,) = read.texts("h1")
    assert title == f"What speed costs: {answer['model']['name']} on {answer['chip']['id']}"
    assert len(read.texts("h2")) == 5
    assert len(read.texts("li")) == len(answer["warnings"])
    text = page(answer).partition("<script")[0]
    for bad in (">nan", ">inf", "None", "e+", "[bold]"):
        assert bad not in text, bad


def test_a_page_needs_nothing_from_elsewhere(answer):
    text = page(answer)
    read = Reader(text)
    for tag, attributes, _ in read.found:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
        assert not {"src", "href", "srcset", "action", "data", "poster", "xlink:href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        if tag == "script":
            assert attributes["type"] == "application/json"
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


def test_every_tier_and_replica_size_is_named(answer):
    read = Reader(page(answer))
    assert len(read.drawings) == 2  # one for a wide page, one for a phone
    for _, drawing in read.drawings:
        said = ["".join(data) for _, _, data in drawing]
        for tier in answer["tiers"]:
            assert tier["name"] in said
            assert f"{figure(tier['tokens_per_s_per_user'])} tokens/s" in said
        assert any("reading the weights" in text for text in said)
        assert any(text.startswith("slow mode: ") for text in said)
    for chips in {row["chips"] for row in answer["points"]}:
        assert f"{chips:,} {'chip' if chips == 1 else 'chips'}" in read.texts("span")


def test_marks_say_what_they_are(answer):
    read = Reader(page(answer))
    hovers = read.texts("title")[1:]  # the first is the page's
    assert len(hovers) == 2 * (len(answer["points"]) + len(answer["tiers"]))
    for row in (answer["points"][0], answer["points"][-1]):
        said = [text for text in hovers if f"{figure(row['tokens_per_s_per_user'])} tokens/s each" in text]
        assert said
        assert any("at once on" in text and "per" in text.splitlines()[-1] for text in said)


def extent(element: Element) -> tuple[float, float, float, float]:
    """Return the box (x0, y0, x1, y1) of a text of a drawing, about."""
    _, attributes, data = element
    x, y = float(attributes["x"]), float(attributes["y"])
    length = LETTER * len("".join(data))
    if "transform" in attributes:  # turned to read downwards
        return x - 0.2 * FONT, y, x + 0.8 * FONT, y + length
    start = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[attributes["text-anchor"]] * length
    return start, y - 0.8 * FONT, start + length, y + 0.2 * FONT


def test_no_text_is_cut_off_or_hides_another(answer):
    for frame, drawing in Reader(page(answer)).drawings:
        _, _, width, height = map(float, frame["viewbox"].split())
        boxes = [(extent(one), "".join(one[2])) for one in drawing]
        for (x0, y0, x1, y1), text in boxes:
            assert 0.0 <= x0 < x1 <= width, text
            assert 0.0 <= y0 < y1 <= height, text
        for i, (a, one) in enumerate(boxes):
            for b, other in boxes[:i]:
                wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                assert wide <= 1.0 or high <= 1.0, (one, other)


HOSTILE = "</script><script>alert(1)</script><!-- \"'&lt;%"


def test_names_cannot_break_out_of_the_page():
    answer = copy.deepcopy(answered("one chip"))
    for place in (answer["model"], answer["chip"], answer["engine"]):
        place |= dict.fromkeys(("id", "name"), HOSTILE)
    answer["warnings"] = [HOSTILE]
    answer["price_basis"] = HOSTILE
    read = Reader(page(answer))
    assert read.data() == answer
    assert read.texts("h1") == [f"What speed costs: {HOSTILE} on {HOSTILE}"]
    assert read.texts("li") == [HOSTILE]
    assert len([tag for tag, _, _ in read.found if tag == "script"]) == 1
    assert all(HOSTILE in frame["aria-label"] for frame, _ in read.drawings)


def test_a_page_suits_phones_and_dark_rooms():
    text = page(answered("one chip"))
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 720px" in text
    (style,) = Reader(text).texts("style")
    used = set(re.findall(r'class="(?:mark )?(s\d)"', text))
    assert used <= set(re.findall(r"(?m)\.(s\d) \{ fill", style))
    for colour in ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"):  # Okabe and Ito 2008
        assert colour in style


def test_chips_without_a_price_are_told_in_chip_time():
    text = page(answered("no price"))
    assert "$" not in text.partition("<script")[0]
    assert "Chip time per output token" in text


# The chart


def told(draw: Callable[[Console], None], encoding: str = "utf-8", width: int = 80) -> str:
    """Return what a terminal of an encoding and a width shows."""
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    draw(Console(file=buffer, width=width))
    buffer.seek(0)
    return buffer.read()


def drawn(answer: dict[str, Any], encoding: str = "utf-8", width: int = 80) -> str:
    """Return the chart of a document."""
    return told(lambda console: console.print(chart(answer, console), highlight=False), encoding, width)


def row(speed: float, usd: float, **more: Any) -> dict[str, Any]:
    return {
        "tokens_per_s_per_user": speed, "usd_per_mtok_output": usd, "chip_s_per_output_token": 1e-3 * usd, **more,
    }  # fmt: skip


BY_HAND: dict[str, Any] = {
    "points": [row(*pair) for pair in ((80, 100), (78, 50), (70, 20), (40, 4), (20, 1.5), (10, 1))],
    "tiers": [row(70, 20, name="fast"), row(20, 1.5, name="standard"), row(10, 1, name="batch")],
    "limits": {"slow_usd_per_mtok_output": 0.5, "slow_chip_s_per_output_token": 5e-4},
}
GOLDEN = """\
US dollars per million output tokens, by tokens/s each
 $100 +                                                    *
      |                                                   *
  $30 +                                                  *
      |                                                *F
      |                                            ****
  $10 +                                         ***
      |                                     ****
   $3 +                               ******
      |                      *********
      |         ********S****
   $1 +B********
      |. . . . . . . . . . . . . . . . . . . . . . . . . . .
      ++----------------+---------+-------+----+----+---+--+
       10              20        30      40   50   60  70 80
       F fast  S standard  B batch  ... slow mode, $0.500
"""
FINE = """\
US dollars per million output tokens, by tokens/s each
 $100 ┤                                                    ⡸
      │                                                   ⢀⠇
  $30 ┤                                                  ⡠⠃
      │                                                ⣀F⠁
      │                                            ⣀⠤⠒⠉
  $10 ┤                                        ⢀⡠⠒⠉
      │                                    ⢀⡠⠔⠊⠁
   $3 ┤                              ⣀⣀⠤⠤⠒⠊⠁
      │                     ⣀⣀⠤⠤⠔⠒⠊⠉⠉
      │       ⣀⣀⣀⣀⠤⠤⠤⠤⠔⠒S⠒⠉⠉
   $1 ┤B⠒⠊⠉⠉⠉⠉
      │⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀ ⡀
      └┬────────────────┬─────────┬───────┬────┬────┬───┬──┬
       10              20        30      40   50   60  70 80
       F fast  S standard  B batch  ⡀ ⡀ slow mode, $0.500
"""


@pytest.mark.parametrize(("encoding", "picture"), [("ascii", GOLDEN), ("utf-8", FINE)])
def test_the_chart_of_a_curve_made_by_hand(encoding, picture):
    said = drawn(BY_HAND, encoding, 60)
    assert [line.rstrip() for line in said.splitlines()] == picture.splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [80, 200, 50])
def test_a_chart_fits_its_terminal(answer, encoding, width):
    said = drawn(answer, encoding, width)
    lines = said.rstrip("\n").splitlines()
    assert len(lines) == 16
    assert max(map(len, lines)) <= min(width, 80)
    plot = "\n".join(line.partition("|" if encoding == "ascii" else "│")[2] or line for line in lines[1:13])
    assert all(plot.count(letter) == 1 for letter in "FSB"), "a tier hides another"


def test_a_chart_without_a_price_tells_chip_time():
    answer = copy.deepcopy(BY_HAND)
    for one in (*answer["points"], *answer["tiers"]):
        one["usd_per_mtok_output"] = None
    answer["limits"]["slow_usd_per_mtok_output"] = None
    said = drawn(answer)
    assert said.startswith("Chip time per output token")
    assert "100 ms" in said
    assert "slow mode, 500 us" in said
    assert "$" not in said


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_tables_fit_80_columns_unwrapped(answer, encoding):
    said = told(lambda console: show(answer, console), encoding)
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    for table in (tiers(answer), curve(answer), mix(answer)):
        start = next(i for i, line in enumerate(lines) if line.startswith(str(table.title)))
        block = lines[start : lines.index("", start)]
        assert len(block) == 2 + table.row_count, "a cell wraps"  # below title and heads
        assert "…" not in "".join(block)


# The axes


@given(
    low=st.floats(1e-6, 1e6), factor=st.floats(1.002, 1e9), most=st.integers(3, 12)
)  # fmt: skip
def test_an_axis_names_some_round_values_within_it(low, factor, most):
    axis = LogAxis(low, low * factor)
    ticks = axis.ticks(most)
    assert 1 <= len(ticks) <= most
    assert ticks == sorted(set(ticks))
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    shares = [axis.share(tick) for tick in ticks]
    assert all(-1e-9 <= share <= 1.0 + 1e-9 for share in shares)


def test_values_named_are_the_expected_ones():
    assert LogAxis(4.0, 900.0).ticks(8) == [5, 10, 20, 50, 100, 200, 500]
    assert LogAxis(9.5, 75.0).ticks(8) == [10, 20, 30, 40, 50, 60, 70]
    assert LogAxis(0.2, 200.0).ticks(6) == pytest.approx([0.3, 1, 3, 10, 30, 100])
    assert LogAxis(1.0, 1e9).ticks(5) == [1, 100, 1e4, 1e6, 1e8]
    assert LogAxis(21.0, 29.0).ticks(6) == [22, 24, 26, 28]
    assert LogAxis.over([7.0]) == LogAxis(3.5, 14.0)
    assert [plain(v) for v in (0.002, 0.30000000000000004, 50.0, 1e3)] == ["0.002", "0.3", "50", "1,000"]
