"""`assign` as a user meets it: the document, tables in and out, refusals, what a terminal and a pipe show."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import configs
from planner.cli.main import main

ROOT = Path(__file__).parents[1]
TASKS = """name,input_tokens,cached_tokens,output_tokens,requests,quality,deadline_s,value_usd_per_hour
support chat,3k,2k,300,200k,42,10,5
code review,20k,8k,1.5k,10k,50,60,40
ticket triage,800,,20,500k,29,,
nightly summaries,12k,,600,40k,45,100000,
autocomplete,2k,1.5k,40,1M,29,1,
"""
OFFERS = """name = "Three offers"
note = "Made up for a test."

[quality]
scale = "points"
source = "a test"
date = "2026-11"

[[offers]]
id = "large"
model = "Large"
quality = 50
usd_per_mtok = { input = 5, cached_input = 0.5, output = 25 }
output_tokens_per_s = 50
ttft_s = 2

[[offers]]
id = "large-batch"
model = "Large"
tier = "batch"
quality = 50
usd_per_mtok = { input = 2.5, output = 12.5 }
turnaround_s = 86400

[[offers]]
id = "small"
model = "Small"
quality = 42
usd_per_mtok = { input = 0.5, cached_input = 0.05, output = 2 }
output_tokens_per_s = 100
ttft_s = 0.5
"""
PLAIN = "input_tokens,output_tokens,quality\n1000,100,42\n"


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tasks.csv").write_text(TASKS)
    Path("offers.toml").write_text(OFFERS)
    return ["assign", "--tasks", "tasks.csv", "--offers", "offers.toml"]


def told(capsys, *words, code=0):
    assert main([*words, "--json"]) == code
    said = capsys.readouterr()
    assert said.err == ""
    return json.loads(said.out)


GOLDEN = """\
$7.91 k a day ($3.38 k for tokens, $4.53 k for waiting); on the 4 of 5 tasks that large can do, $7.5
k instead of $14.7 k on it alone, 49.1 % less; 2 of 5 tasks (76.8 % of the cost) deserve the best
model, Large.

Who gets what
offer        quality  tasks  requests  per 1,000   tokens  waiting  of the cost
large             50      1    10,000       $102  $1.02 k  $3.56 k       57.8 %
small             42      3     1.7 M     $0.509     $865     $972       23.2 %
large-batch       50      1    40,000      $37.5   $1.5 k       $0         19 %
"""


def test_what_a_terminal_shows(words, capsys):
    assert main([*words, "--per", "day"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    shown = "\n".join(line.rstrip() for line in said.out.splitlines())
    print(shown)
    for title in (
        "What promises cost, each dropped alone",
        "When the faster tier pays",
        "Wasted most",
    ):
        assert title in shown
    for line in (
        "The best model, Large, is taken where no other is good enough (tasks: 2).",
        "large alone would break the deadline of 1 of 5 tasks.",
        "Offers: 3 of offers; quality: points, 2026-11, a test.",
        "About them: Made up for a test.",
    ):
        assert line in shown
    assert shown.startswith(GOLDEN)


def test_the_document(words, capsys):
    answer = told(capsys, *words, "--per", "day")
    assert (answer["schema"], answer["status"], answer["per"]) == ("assign/1", "ok", "day")
    assert answer["message"].startswith("$7.91 k a day")
    assert [row["offer"] for row in answer["mix"]] == ["large", "small", "large-batch"]
    chat = (1e3 * 0.5 + 2e3 * 0.05 + 300 * 2.0) * 1e-6 * 200e3
    triage, complete = (800 * 0.5 + 20 * 2.0) * 0.5, (500 * 0.5 + 1500 * 0.05 + 40 * 2.0)
    assert answer["mix"][1]["paid_usd"] == pytest.approx(chat + triage + complete)
    assert answer["habit"]["offer"] == "large"
    assert answer["habit"]["broken_tasks"] == {"quality": 0, "context": 0, "deadline": 1}
    (level,) = [row for row in answer["promises"]["quality"] if row["level"] == 50.0]
    assert (level["lower_level"], level["tasks"]) == (42.0, 2)
    none = dict.fromkeys(("quality", "context", "deadline"), 0)
    assert answer["unserved"] == {"tasks": 0, "requests": 0.0, "by_limit": none, "first": []}


def test_the_table_of_who_gets_what(words, capsys):
    answer = told(capsys, *words, "--out", "assigned.csv")
    assert answer["files"] == ["assigned.csv"]
    with open("assigned.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["task"] for row in rows] == [line.split(",")[0] for line in TASKS.splitlines()[1:]]
    assert [row["offer"] for row in rows] == ["small", "large", "small", "large-batch", "small"]
    assert sum(float(row["total_usd"]) for row in rows) == pytest.approx(answer["total_usd"])
    assert sum(float(row["no_deadline_saves_usd"]) for row in rows) == pytest.approx(
        answer["promises"]["deadline_saves_usd"]
    )
    assert rows[4]["habit_total_usd"] == ""  # the habit breaks its deadline
    assert rows[1]["second_offer"] == ""  # no other offer keeps its promises
    assert [p.name for p in Path().iterdir() if p.name.startswith(".")] == []


def test_tasks_that_nothing_serves(words, capsys):
    Path("tasks.csv").write_text(TASKS + "poem,1k,,1k,1,50,5,\nproof,1k,,1k,3,90,,\n")
    answer = told(capsys, *words, code=3)
    assert answer["status"] == "infeasible"
    assert answer["message"].startswith(
        "2 of 7 tasks have no offer (quality 1, deadline 1); the others cost $7.91 k for"
    )
    first, second = answer["unserved"]["first"]
    assert (first["task"], first["limit"], first["nearest"]) == (
        "poem",
        "deadline",
        {"deadline_s": 22.0, "quality": None},
    )
    assert (second["task"], second["limit"], second["nearest"]["quality"]) == ("proof", "quality", 50.0)
    assert answer["promises"]["would_serve_tasks"] == {"no_deadline": 1, "lower_quality": 1, "any_quality": 1}
    assert main(words) == 3
    shown = capsys.readouterr().out
    assert "No offer does these" in shown
    assert "22 s" in shown
    Path("tasks.csv").write_text(PLAIN.replace("42", "90"))
    answer = told(capsys, *words, code=3)
    assert answer["message"] == "1 of 1 task has no offer (quality 1)."
    assert answer["total_usd"] == 0.0
    assert main([*words, "--out", "assigned.csv"]) == 3
    assert "quality 50" in capsys.readouterr().out
    assert Path("assigned.csv").read_text().splitlines()[1].startswith(",2,,,,quality,1,,,,,,,")


def test_one_task_and_a_tie(words, capsys):
    Path("tasks.csv").write_text(PLAIN)
    Path("offers.toml").write_text(OFFERS + OFFERS[OFFERS.rindex("[[") :].replace('"small"', '"twin"'))
    answer = told(capsys, *words, "--habit", "twin")
    assert answer["message"].startswith("$0.0007 for 1 request, as much as on twin alone; no task deserves")
    assert main([*words, "--habit", "twin"]) == 0
    shown = capsys.readouterr().out
    assert "Ties: 1 task costs as much on a second offer, within 1 % ($0.0007 in all)." in shown
    assert "Wasted" not in shown


def test_tasks_as_toml_with_blanks_and_comments(words, capsys):
    Path("tasks.toml").write_text("[[tasks]]\nname = 'a'\ninput_tokens = 1000\noutput_tokens = 100\nquality = 42\n")
    answer = told(capsys, "assign", "--tasks", "tasks.toml", *words[3:])
    assert answer["total_usd"] == pytest.approx(0.0007)
    Path("tasks.toml").write_text("[[tasks]]\ninput_tokens = 1000\noutput_tokens = 100\nqualty = 42\n")
    assert main(["assign", "--tasks", "tasks.toml", *words[3:]]) == 2
    assert "tasks.1.qualty is not a known key; did you mean 'quality'?" in capsys.readouterr().err


def test_blank_lines_quotes_bom_and_own_columns(words, capsys):
    text = "\ufeffname,team,Input notes,input_tokens,output_tokens,quality\n\n" + '"a, b",x,y,"1,0"\n'.replace(
        '"1,0"', "1_000,1e2,42"
    )
    Path("tasks.csv").write_text(text + "\n")
    answer = told(capsys, *words)
    assert answer["total_usd"] == pytest.approx(0.0007)
    assert answer["warnings"] == ["columns that say nothing known are not used: team, Input notes."]
    assert answer["habit"]["largest"][0]["task"] == "a, b"


def test_flags_from_a_file_and_a_worth_of_time_for_all(words, capsys):
    Path("question.toml").write_text(
        'tasks = "tasks.csv"\noffers = "offers.toml"\nvalue_usd_per_hour = 100\nper = "week"\n'
    )
    answer = told(capsys, "assign", "--scenario", "question.toml")
    assert answer["per"] == "week"
    assert answer["waiting_usd"] > told(capsys, *words)["waiting_usd"]
    assert told(capsys, "assign", "--scenario", "question.toml", "--value-usd-per-hour", "0") == {
        **told(capsys, *words),
        "per": "week",
        "message": told(capsys, *words, "--per", "week")["message"],
    }


def test_a_margin_keeps_deadlines_with_room(words, capsys):
    Path("tasks.csv").write_text("input_tokens,output_tokens,quality,deadline_s\n1000,100,42,2\n")
    assert told(capsys, *words)["mix"][0]["offer"] == "small"  # 1.5 s
    answer = told(capsys, *words, "--deadline-margin", "1.5", code=3)
    assert answer["unserved"]["first"][0]["nearest"]["deadline_s"] == pytest.approx(2.25)


def test_prices_of_a_card_by_id_beside_the_file_or_saved_by_price(words, capsys, tmp_path):
    saved = {
        "schema": "price/1", "usd_per_mtok": {"input": 0.2, "output": 0.8}, "tokens_per_s_per_user": 40.0,
        "tiers": [{"name": "batch", "tokens_per_s_per_user": 10.0, "usd_per_mtok": {"input": 0.1, "output": 0.4}}],
    }  # fmt: skip
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own.json").write_text(json.dumps(saved))
    own = '[[offers]]\nid = "own"\nmodel = "Own"\nquality = 42\ncard = "own.json"\nttft_s = 1\n'
    public = (
        '[[offers]]\nid = "opus"\nmodel = "Opus"\ntier = "fast"\nquality = 50\ncard = "claude-opus-4.6"\nttft_s = 1\n'
    )
    (folder / "offers.toml").write_text(OFFERS[: OFFERS.index("[[")] + own + public)
    catalogue = configs.load_offers(str(folder / "offers.toml"))
    assert [o.output_tokens_per_s for o in catalogue.offers] == [40.0, 127.5]
    Path("tasks.csv").write_text(PLAIN)
    answer = told(capsys, *words[:4], str(folder / "offers.toml"))
    assert answer["total_usd"] == pytest.approx(0.0002 + 0.00008)


def test_prompts_longer_than_their_times_were_measured_at_are_noted(words, capsys):
    Path("tasks.csv").write_text("input_tokens,output_tokens,quality,deadline_s\n50k,100,42,20\n")
    (note,) = told(capsys, *words)["warnings"]
    assert note.startswith("1 task has more than 10,000 new prompt tokens")
    Path("offers.toml").write_text(OFFERS + "input_tokens_per_s = 10000\n")
    assert told(capsys, *words)["warnings"] == []


HEAD = "input_tokens,output_tokens,quality"
BAD_TASKS = {
    "empty": ("", "tasks.csv: empty, where a CSV table with a header was expected"),
    "a header alone": (HEAD + "\n", "a header without rows"),
    "no quality": ("input_tokens,output_tokens\n1,1\n", "no column 'quality' (points on the scale of the"),
    "no prompt": ("output_tokens,quality\n1,1\n", "no column 'input_tokens' (tokens of one prompt"),
    "a column mistyped": (f"{HEAD},deadline\n1,1,1,1\n", "column 'deadline' is not known; did you mean 'deadline_s'?"),
    "a unit too many": (f"{HEAD},requests_per_day\n1,1,1,1\n", "did you mean 'requests'?"),
    "capitals": ("Input_Tokens,output_tokens,quality\n1,1,1\n", "did you mean 'input_tokens'?"),
    "a column twice": (f"{HEAD},quality\n1,1,1,1\n", "2 columns are called 'quality'"),
    "a word": (f"{HEAD}\n1,1,1\n1,many,1\n", "line 3: output_tokens = 'many' is not a number: give tokens of one"),
    "a blank": (f"{HEAD}\n1,,1\n", "line 2: no output_tokens: give tokens of one answer"),
    "negative": (f"{HEAD}\n-5,1,1\n", "line 2: input_tokens = -5 is outside 0 to 1e+09 (tokens of one prompt"),
    "NaN": (f"{HEAD}\n1,1,nan\n", "line 2: quality = 'nan' is not a number"),
    "infinite": (f"{HEAD},deadline_s\n1,1,1,inf\n", "line 2: deadline_s = 'inf' is not a number"),
    "no time at all": (f"{HEAD},deadline_s\n1,1,1,0\n", "line 2: deadline_s = 0 is outside 1e-06 to 1e+09"),
    "no requests": (f"{HEAD},requests\n1,1,1,0\n", "line 2: requests = 0 is outside"),
    "too many tokens": (f"{HEAD}\n5T,1,1\n", "line 2: input_tokens = 5T is outside"),
    "a cell too few": (f"{HEAD}\n1,1\n", "line 2: 2 cells, where the header has 3 columns"),
    "a cell too many": (f"{HEAD}\n1,1,1\n1,000,1,1\n", "line 3: 4 cells, where the header has 3 columns"),
    "after a blank line": (f"{HEAD}\n1,1,1\n\n1,x,1\n", "line 4: output_tokens = 'x'"),
    "after a cell of two lines": (f'name,{HEAD}\n"a\nb",1,1,1\n,1,x,1\n', "line 4: output_tokens = 'x'"),
    "more cached than there is": (
        f"{HEAD},cached_tokens\n10,1,1,11\n",
        "line 2: cached_tokens = 11 is more than input_tokens",
    ),
    "a worth below nothing": (f"{HEAD},value_usd_per_hour\n1,1,1,-3\n", "line 2: value_usd_per_hour = -3 is outside"),
    "not text": ("\xff\xfe\x00", "cannot be read as CSV"),
    "semicolons": ("input_tokens;output_tokens;quality\n1;1;1\n", "did you mean 'input_tokens'?"),
}


@pytest.fixture
def refused(words, capsys):
    def run(*more, name="", text=""):
        if name:
            Path(name).write_bytes(text.encode("utf-8" if name == "offers.toml" else "latin-1"))
        assert main([*words, *more] if not more or more[0].startswith("--") else [*more]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert not Path("assigned.csv").exists()
        return said.err

    return run


@pytest.mark.parametrize("what", BAD_TASKS)
def test_bad_tables_are_told_with_file_line_and_remedy(what, refused):
    text, said = BAD_TASKS[what]
    told = refused("--out", "assigned.csv", name="tasks.csv", text=text)
    assert said in told
    assert "tasks.csv" in told


BATCH = "usd_per_mtok = { input = 2.5, output = 12.5 }"
BAD_OFFERS = {
    "no scale": (('scale = "points"\n', ""), "quality.scale is missing"),
    "no source": (('source = "a test"\n', ""), "quality.source is missing (every fact needs its source)"),
    "a key mistyped": (("ttft_s = 2", "tttf_s = 2"), "offers.1.tttf_s is not a known key; did you mean 'ttft_s'?"),
    "no quality": (("quality = 42\n", ""), "offers.3.quality is missing"),
    "no prices": ((f"{BATCH}\n", ""), "offers.2: card and usd_per_mtok are both missing: give one"),
    "prices twice": (
        ("quality = 42\n", 'quality = 42\ncard = "gpt-5"\n'),
        "offers.3: card and usd_per_mtok exclude each other",
    ),
    "no output price": ((", output = 12.5", ""), "offers.2.usd_per_mtok.output is missing"),
    "free": (("input = 2.5", "input = 0"), "offers.2.usd_per_mtok.input = 0 is outside 0.0001 to 10000"),
    "an id twice": (('id = "small"', 'id = "large"'), "offers.3.id = 'large' is the id of an offer above"),
    "no time": (("turnaround_s = 86400\n", ""), "offers.2.ttft_s is missing: give it, or turnaround_s"),
    "no speed": (("output_tokens_per_s = 100\n", ""), "offers.3.output_tokens_per_s is missing"),
    "two times": (
        ("turnaround_s = 86400\n", "turnaround_s = 86400\nttft_s = 1\n"),
        "turnaround_s and ttft_s exclude each other",
    ),
    "no such card": ((BATCH, 'card = "gpt-5-mini1"'), "unknown price card 'gpt-5-mini1'; did you mean 'gpt-5-mini'?"),
    "no such tier": (
        (f'tier = "batch"\nquality = 50\n{BATCH}', 'tier = "fast"\nquality = 50\ncard = "gpt-5-mini"'),
        "offers.2.tier = 'fast' has no price in card gpt-5-mini (it prices standard, batch, ",
    ),
    "no TOML": (("[quality]", "[quality"), "not valid TOML"),
    "none": ((OFFERS[OFFERS.index("[[offers]]") :], ""), "offers is missing"),
}


@pytest.mark.parametrize("what", BAD_OFFERS)
def test_bad_offers_are_told_in_one_sentence(what, refused):
    (old, new), said = BAD_OFFERS[what]
    assert old in OFFERS
    told = refused(name="offers.toml", text=OFFERS.replace(old, new))
    assert said in told
    assert "offers.toml" in told


BAD_WORDS = {
    "no tasks": (["assign", "--offers", "offers.toml"], "--tasks is missing: give a CSV table"),
    "no offers": (["assign", "--tasks", "tasks.csv"], "--offers is missing: give a catalogue"),
    "no such table": (
        ["assign", "--tasks", "nowhere.csv", "--offers", "offers.toml"],
        "nowhere.csv: cannot be read as CSV (No such file",
    ),
    "a folder": (["assign", "--tasks", ".", "--offers", "offers.toml"], "cannot be read as CSV"),
    "no such catalogue": (
        ["assign", "--tasks", "tasks.csv", "--offers", "artificial-analysis"],
        "unknown catalogue of offers 'artificial-analysis'; did you mean",
    ),
    "no such habit": (["--habit", "lrage"], "--habit = 'lrage' is no offer of offers.toml; did you mean 'large'?"),
    "unlike any offer": (["--habit", "zzz"], "(it has large, large-batch, small)"),
    "a worth below nothing": (["--value-usd-per-hour", "-1"], "--value-usd-per-hour = -1 is outside 0 to 1e+09"),
    "a margin below one": (["--deadline-margin", "0.5"], "--deadline-margin = 0.5 is outside 1 to 1000"),
    "no such period": (["--per", "fortnight"], "--per = 'fortnight' must be one of hour, day, week, month, year"),
    "out nowhere": (["--out", "no/assigned.csv"], "there is no directory 'no'"),
    "save nowhere": (["--save", "no/answer.json"], "there is no directory 'no'"),
    "mistyped": (["--task", "tasks.csv"], "unknown flag '--task'; did you mean '--tasks'?"),
    "a stray word": (["assign", "tasks.csv"], "'tasks.csv' does not belong here"),
    "scenario": (["--scenario", "nowhere.toml"], "nowhere.toml: no such file"),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_bad_flags_are_told_in_one_sentence(what, refused):
    more, said = BAD_WORDS[what]
    assert said in refused(*more)


def test_no_jax_and_a_pipe_that_closes(words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = f"import sys\nfrom planner.cli.main import main\nassert main({[*words, '--json']!r}) == 0\n"
    code += "assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    script = f'set -o pipefail; "{sys.executable}" -m planner {" ".join(words)} | head -1'
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("$7.91 k for 1.75 M requests")
    piped = f'cat tasks.csv | "{sys.executable}" -m planner assign --tasks /dev/stdin --offers offers.toml --json'
    done = subprocess.run(["bash", "-c", piped], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["tasks"] == 5


def test_saved_as_printed(words, capsys):
    answer = told(capsys, *words, "--save", "answer.json")
    assert json.loads(Path("answer.json").read_text()) == answer


def test_offers_are_listed(capsys):
    answer = told(capsys, "list", "offers")
    assert {row["id"] for row in answer["items"]} == set(configs.ids("offers"))
    assert {row["id"] for row in answer["items"][0]["rows"]} >= {"claude-sonnet-4.5", "claude-sonnet-4.5-batch"}
    assert main(["list", "offers"]) == 0
    assert "Artificial Analysis Intelligence Index" in capsys.readouterr().out
