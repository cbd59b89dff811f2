"""The command line, as typed: words in; output, files and exit code out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import small_notebooks

from cellway import errors
from cellway.cli import completion, following, given, main
from cellway.cli.commands import COMMANDS
from cellway.cli.console import Console, cells, fit, plain, seconds, size
from cellway.cli.parsing import parse
from cellway.records import Event, Parameter, Run, Status, StepRun

PROGRAM = [sys.executable, "-c", "import sys; from cellway.cli import main; sys.exit(main())"]
POSIX = pytest.mark.skipif(os.name == "nt", reason="terminals and signals of POSIX")

SMALL = """\
# %%
def double(x):
    return 2 * x

# %%
%%parameters
n: int = 3  # how many
name: str = "a"

# %%
%%step load
values = [double(i) for i in range(n)]
print("loading", n)

# %%
%%step report
import pandas as pd

table = pd.DataFrame({"value": values, "name": name})
total = sum(values)
print("total", total)
"""

FAILING = """\
# %%
%%step load
values = [1, 2]

# %%
%%step broken
print("before")
x = {"a": values}["b"]

# %%
%%step after
print(x)
"""

PLAIN = """\
# %% [markdown]
# ## Load

# %%
import os

rows = os.listdir()

# %% [markdown]
# ## Sum

# %%
total = len(rows)
"""

SLOW = """\
# %%
%%step wait
import time
print("waiting")
for _ in range(600):
    time.sleep(0.1)
"""


def cellway(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR"}}
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=folder,
        env={**environment, "PYTHONIOENCODING": "utf-8", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=240,
    )


# --- words ------------------------------------------------------------------------------------------------------

PARSED = {
    "long with blank": ("run", "a.ipynb --jobs 4", {"--jobs": ["4"]}, ["a.ipynb"]),
    "long with equals": ("run", "a.ipynb --jobs=4", {"--jobs": ["4"]}, ["a.ipynb"]),
    "short with blank": ("run", "a.ipynb -j 4", {"--jobs": ["4"]}, ["a.ipynb"]),
    "short right behind": ("run", "-j4 a.ipynb", {"--jobs": ["4"]}, ["a.ipynb"]),
    "joined flags": ("run", "-kq a.ipynb", {"--keep-going": [], "--quiet": []}, ["a.ipynb"]),
    "joined, the last with a value": ("run", "-kj4 a.ipynb", {"--keep-going": [], "--jobs": ["4"]}, ["a.ipynb"]),
    "repeated": ("run", "a.ipynb -p a=1 -p b=2", {"--parameter": ["a=1", "b=2"]}, ["a.ipynb"]),
    "a value with equals and dashes": ("run", "a.ipynb --parameter=a=-1", {"--parameter": ["a=-1"]}, ["a.ipynb"]),
    "an optional value left out": ("run", "--no-cache a.ipynb", {"--no-cache": []}, ["a.ipynb"]),
    "an optional value behind the notebook": ("run", "a.ipynb --no-cache b", {"--no-cache": ["b"]}, ["a.ipynb"]),
    "an optional value with equals": ("run", "--no-cache=b,c a.ipynb", {"--no-cache": ["b,c"]}, ["a.ipynb"]),
    "two dashes end the options": ("check", "-- --odd.ipynb", {}, ["--odd.ipynb"]),
    "help needs no arguments": ("check", "-h", {"--help": []}, []),
}


@pytest.mark.parametrize("name", PARSED)
def test_words(name):
    command, line, options, arguments = PARSED[name]
    call = parse(COMMANDS[command], line.split())
    assert (call.given, call.words) == (options, arguments)


WRONG = {
    "unknown command": ("rnu a.ipynb", "no command `rnu`", "did you mean `cellway run`?"),
    "no command, but a notebook": ("a.ipynb", "lacks a command", "`cellway run a.ipynb`"),
    "option in front of the command": ("--jobs 4 run a.ipynb", "in front of the command", "cellway run --jobs"),
    "unknown option": ("run a.ipynb --job 4", "no option `--job`", "did you mean `--jobs`?"),
    "nothing like it": ("run a.ipynb --xyzzy", "no option `--xyzzy`", "cellway run --help"),
    "option of another command": ("check a.ipynb --jobs 4", "`cellway check` has no option `--jobs`", "--help"),
    "no value": ("run a.ipynb --jobs", "`--jobs` needs a value", "--jobs N"),
    "an option instead of a value": ("run a.ipynb --jobs --quiet", "`--jobs` needs a value", "--jobs N"),
    "a value for a flag": ("run a.ipynb --quiet=yes", "takes no value", "`--quiet` alone"),
    "twice": ("run a.ipynb --jobs 1 --jobs 2", "given twice", "keep one"),
    "no argument": ("check", "needs NOTEBOOK", "cellway check NOTEBOOK"),
    "too many arguments": ("check a.ipynb b.ipynb", "here is `b.ipynb`", "quotes"),
    "no number": ("run a.ipynb --jobs many", "a whole number", "--jobs 2"),
    "too small": ("run a.ipynb --jobs 0", "a whole number from 1", "--jobs 2"),
    "run without notebook": ("run", "needs a notebook", "--resume RUN"),
    "resume with a notebook": ("run a.ipynb --resume last", "`a.ipynb` cannot be given", "cellway run --resume last"),
    "resume with parameters": ("run --resume last -p n=1", "`--parameter` cannot be given", "--resume last"),
    "notebook that is not there": ("check missing.ipynb", "missing.ipynb", ""),
    "unknown shell": ("completion bosh", "no completion for `bosh`", "did you mean `bash`?"),
    "unknown command of help": ("help rnu", "no command `rnu`", "did you mean `run`?"),
    "unknown status": ("runs --status done", "no such status", "one of"),
    "convert without folder": ("convert a.ipynb", "needs the folder", "-o a-pipeline"),
    "export without file": ("export a.b", "needs the file", "-o FILE"),
    "older than what": ("gc --older-than soon", "a time is meant", "30d"),
    "how much": ("gc --max-size much", "an amount is meant", "10GB"),
    "no such project": ("runs --project nowhere", "no such folder", "project"),
    "two pictures": ("show a.py --svg --mermaid", "one of them", "twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words(name, capsys, monkeypatch, tmp_path):
    line, message, fix = WRONG[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ipynb").write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}')
    (tmp_path / "a.py").write_text("# %%\n%%step a\nx = 1\n")
    assert main(line.split()) == errors.UsageError.exit_code
    out, err = capsys.readouterr()
    assert message in err
    assert fix in err
    assert err.count("error:") == 1
    assert "Traceback" not in out + err
    assert list(tmp_path.glob(".cellway")) == []


def test_an_error_as_json(capsys):
    assert main(["check", "missing.ipynb", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error = json.loads(err)["error"]
    assert (error["kind"], error["exit_code"], error["name"]) == ("UsageError", 2, "missing.ipynb")


def test_a_defect_is_one_line_unless_debug_asks_for_more(capsys, monkeypatch):
    def break_down(*_: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("cellway.cli.helping.help", break_down)
    assert main(["help"]) == 1
    assert "cellway itself failed: ZeroDivisionError: oh" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main(["help", "--debug"])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_fits_the_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    own = capsys.readouterr().out
    assert main(["help", name]) == 0
    assert capsys.readouterr().out == own
    for option in COMMANDS[name].options:
        assert option.name in own
    described = own.partition("\nexamples\n")[0]
    assert [line for line in described.splitlines() if len(line) > 80 and "eval" not in line and "|" not in line] == []


def test_help_lists_every_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +{re.escape(c.summary)}$", listed, re.MULTILINE) for name, c in COMMANDS.items())
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == listed
    assert main(["help", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"cellway \d+\.\d+\.\S+\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name):
    module = __import__(f"cellway.cli.{COMMANDS[name].module}", fromlist=[name])
    assert callable(getattr(module, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_can_be_parsed(name):
    import shlex

    for example in COMMANDS[name].examples:
        words = shlex.split(example)
        assert words[:2] == ["cellway", name]
        parse(COMMANDS[name], words[2:])


# --- texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"),
        (0.0421, "42 ms"),
        (0.25, "0.2 s"),
        (3.44, "3.4 s"),
        (59.99, "1 min"),
        (125, "2 min 5 s"),
        (4800, "1 h 20 min"),
        (None, ""),
    ],
)
def test_times(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (812, "812 B"), (2345, "2.3 kB"), (143_000, "143 kB"), (1_530_000, "1.5 MB"), (7e13, "70.0 TB")],
)
def test_sizes(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short"),
        ("a long text", 6, "a lon…"),
        ("two\nlines", 20, "two lines"),
        ("日本語日本語", 7, "日本語…"),
    ],
)
def test_texts_are_cut_by_columns(text, width, shown):
    assert fit(text, width) == shown
    assert cells(fit(text, width)) <= width


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours(environment, terminal, coloured):
    out = Terminal() if terminal else io.StringIO()
    assert ("\x1b" in Console(out, out, environment).style("text", "red")) is coloured


def test_a_terminal_without_unicode_gets_plain_characters():
    out = Terminal("ascii")
    Console(out, out, {"NO_COLOR": "1"}).print("● a → b … “ü” ├─")
    assert out.getvalue() == '* a -> b ... "?" +-\n'


def test_a_table_is_cut_where_the_terminal_ends_and_not_in_a_pipe():
    rows = [["a", "x" * 100], ["bb", "y"]]
    for columns, longest in (("40", 40), ("", 104)):
        out = io.StringIO()
        Console(out, out, {"COLUMNS": columns}).table(rows)
        assert max(map(len, out.getvalue().splitlines())) == longest


HOSTILE = {
    "clears the screen": ("a\x1b[2Jb\x1b[Hc", "abc"),
    "sets the title": ("a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c", "abc"),
    "rings, goes back, ends": ("a\x07b\x08c\x00d\x7f\x9b2Je", "abcd2Je"),
    "writes over the line": ("good\rbad", "goodbad"),
    "turns the direction": ("a\u202eb\u2066c", "abc"),
    "half a sequence": ("a\x1b[3", "a[3"),
    "a lone surrogate": ("a\udcffb", "a?b"),
    "tabs and lines stay": ("a\tb\nc", "a\tb\nc"),
    "joins and accents stay": ("e\u0301 \U0001f469\u200d\U0001f4bb ünï", "e\u0301 \U0001f469\u200d\U0001f4bb ünï"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_texts_of_others_do_not_command_the_terminal(name, environment):
    text, shown = HOSTILE[name]
    out = Terminal()
    Console(out, out, environment).print(text)
    assert out.getvalue() == shown + "\n"


def test_colours_of_the_author_stay_and_end_with_the_text():
    for environment, shown in (({}, "a \x1b[31mred\x1b[0m\n"), ({"NO_COLOR": "1"}, "a red\n")):
        out = Terminal()
        Console(out, out, environment).print("a \x1b[31mred")
        assert out.getvalue() == shown


def test_a_table_has_one_line_a_row_whatever_is_in_it():
    out = Terminal()
    Console(out, out, {"COLUMNS": "40"}).table([["a\rb\x1b[2J\tc\nd", "x"], ["e", "y"]])
    assert out.getvalue() == "ab c d  x\ne       y\n"


def test_a_table_fits_though_no_single_column_is_to_blame():
    rows = [["●", "a_very_long_name_of_a_step_in_a_notebook", "reused", "3.1 s", "nothing changed"]]
    out = Terminal()
    Console(out, out, {"COLUMNS": "50", "NO_COLOR": "1"}).table(rows)
    (line,) = out.getvalue().splitlines()
    assert len(line) <= 50
    assert line.startswith("●  a_very_long_")
    assert "reused  3.1 s  nothing" in line


def test_numbers_that_json_does_not_have_become_null():
    assert plain({"a": float("nan"), "b": (1, float("inf")), "c": Status.CACHED}) == {
        "a": None,
        "b": [1, None],
        "c": "cached",
    }


# --- parameters -------------------------------------------------------------------------------------------------

KNOWN = (
    Parameter("n", "int", 3),
    Parameter("rate", "float", 0.5),
    Parameter("name", "str", "a"),
    Parameter("flag", "bool", False),
    Parameter("names", "list", []),
    Parameter("anything", None, None, optional=True),
    Parameter("Mixed", "int", 1),
)


def values(line: list[str]) -> dict[str, object]:
    return given.parameters(parse(COMMANDS["run"], ["a.ipynb", *line]), KNOWN, Console(io.StringIO(), io.StringIO()))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=12", {"n": 12}),
        ("n=-1", {"n": -1}),
        ("rate=1", {"rate": 1.0}),
        ("name=5", {"name": "5"}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("flag=yes", {"flag": True}),
        ('names=["a", "b"]', {"names": ["a", "b"]}),
        ("anything=5", {"anything": 5}),
        ("anything=none", {"anything": None}),
        ("anything=some text", {"anything": "some text"}),
    ],
)
def test_a_parameter_is_read_as_its_type(text, value):
    found = values(["-p", text])
    assert found == value
    assert [type(v) for v in found.values()] == [type(v) for v in value.values()]


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("m=1", "no parameter `m`", "the parameters are"),
        ("nmae=1", "no parameter `nmae`", "did you mean `name`?"),
        ("n=many", "`-p n=many`", "`-p n=3`"),
        ("n=1.5", "`-p n=1.5`", "`-p n=3`"),
        ("n", "NAME=VALUE is meant", "`-p n=300`"),
        ("flag=perhaps", "flag", "`-p flag=false`"),
    ],
)
def test_a_wrong_parameter(text, message, fix):
    with pytest.raises(errors.UsageError, match=re.escape(message)) as error:
        values(["-p", text])
    assert fix in error.value.fix


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.json", '{"n": 7, "names": ["x"]}'), ("p.yaml", "n: 7\nnames: [x]\n"), ("p.toml", 'n = 7\nnames = ["x"]\n')],
)
def test_parameters_of_a_file(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert values(["--parameters", str(tmp_path / name)]) == {"n": 7, "names": ["x"]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", "{", "p.json"),
        ("p.yaml", "a: [", "p.yaml"),
        ("p.json", "[1]", "does not give names and values"),
        ("p.ini", "n=1", "which format"),
        ("p.json", '{"m": 1}', "no parameter `m`"),
    ],
)
def test_a_wrong_parameters_file(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.UsageError, match=re.escape(message)):
        values(["--parameters", str(tmp_path / name)])


def test_a_parameters_file_that_is_not_there(tmp_path):
    with pytest.raises(errors.UsageError, match="cannot be read"):
        values(["--parameters", str(tmp_path / "none.yaml")])


def test_the_word_wins_over_the_file_and_the_file_over_the_environment(tmp_path, monkeypatch):
    (tmp_path / "p.json").write_text('{"n": 2, "rate": 0.2}')
    for name, value in {"N": "1", "RATE": "0.1", "name": "environment", "MIXED": "5", "Mixed": "6"}.items():
        monkeypatch.setenv(f"CELLWAY_PARAM_{name}", value)
    expected = {"n": 3, "rate": 0.2, "name": "environment", "Mixed": 6}
    assert values(["--parameters", str(tmp_path / "p.json"), "-p", "n=3"]) == expected


def test_a_variable_that_fits_no_parameter_is_mentioned(monkeypatch):
    monkeypatch.setenv("CELLWAY_PARAM_NN", "1")
    err = io.StringIO()
    given.parameters(parse(COMMANDS["run"], ["a.ipynb"]), KNOWN, Console(io.StringIO(), err))
    assert "CELLWAY_PARAM_NN" in err.getvalue()


# --- what a run prints --------------------------------------------------------------------------------------------

RUN = Run("20260114-093105-1f3a", "case", "case.ipynb", Status.RUNNING)


def event(kind: str, step: str | None = None, at: float = 0.0, status: Status | None = None, **more: object) -> Event:
    """One event; ``reason``, ``error`` and ``data`` go where they belong."""
    step_run = None
    if status is not None:
        ended = at if status is not Status.RUNNING else None
        step_run = StepRun(
            f"{step}1", RUN.id, str(step), status, reason=str(more.pop("reason", "")), started=at - 2, ended=ended,
            error=more.pop("error", None),  # type: ignore[arg-type]
        )  # fmt: skip
    return Event(kind, at, RUN, step, step_run, str(more.pop("message", "")), more.pop("data", {}))  # type: ignore[arg-type]


STORY = (
    event("run-started"),
    event("step-finished", "load", 0.1, Status.CACHED, reason="nothing changed"),
    event("step-started", "train", 0.2, Status.RUNNING, message="parameter n: 1 → 2"),
    event("cell", "train", 0.3, data={"cell": 2, "cells": 4}),
    event("output", "train", 0.4, data={"stream": "stdout", "text": "one\nhalf "}),
    event("output", "train", 0.5, data={"stream": "stderr", "text": "beware\n"}),
    event("output", "train", 0.6, data={"stream": "stdout", "text": "a line\r10 %\r20 %"}),
    event("step-retry", "train", 1.0, Status.FAILED, message="attempt 2 of 2 in 1 s"),
    event("step-finished", "train", 2.2, Status.COMPLETED, reason="parameter n: 1 → 2"),
    event("step-started", "report", 3.0, Status.RUNNING),
    event("step-finished", "report", 5.0, Status.FAILED, error={"ename": "KeyError", "evalue": "'b'"}),
    event("step-finished", "mail", 5.0, Status.SKIPPED, reason="because report failed"),
    Event("run-finished", 5.1, Run(RUN.id, "case", "case.ipynb", Status.FAILED)),
)  # fmt: skip
NAMES = ["load", "train", "report", "mail"]


def test_plain_lines():
    out = io.StringIO()
    lines = following.Lines(Console(out, out, {}), NAMES)
    for one in STORY:
        lines.show(one)
    lines.close()
    assert [re.sub(r" +", " ", line) for line in out.getvalue().splitlines()] == [
        "● load reused nothing changed",
        " train started parameter n: 1 → 2",
        " train │ one",
        " train │ beware",
        " train again attempt 2 of 2 in 1 s",
        " train │ 20 %",
        "✓ train ran 2.0 s parameter n: 1 → 2",
        " report started",
        "✗ report failed 2.0 s KeyError: 'b'",
        "◌ mail skipped because report failed",
    ]


def test_json_lines():
    out = io.StringIO()
    stream = following.Stream(Console(out, out, {}))
    for one in STORY:
        stream.show(one)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["kind"] for one in told] == [one.kind for one in STORY]
    assert told[0]["run"]["pipeline"] == "case"
    assert told[1]["run"] == RUN.id
    assert told[1]["step_run"]["status"] == "cached"
    assert told[-1]["run"]["status"] == "failed"


@pytest.mark.parametrize("width", [60, 100, 140])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_live_table_fits_the_terminal(width, encoding):
    from cellway.cli.live import LiveView

    out = Terminal(encoding)
    tally = following.Tally(NAMES)
    view = LiveView(Console(out, out, {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "xterm"}), tally)
    for one in STORY:
        tally.add(one)
        view.show(one)
    view.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n")
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    last = text.rstrip().splitlines()[-4:]
    for row, words in zip(last, ("load reused", "train ran", "report failed KeyError", "mail skipped"), strict=True):
        assert [word for word in words.split() if word not in row] == []
    text.encode(encoding)


def test_the_live_table_of_very_many_steps_shows_what_matters():
    from cellway.cli.live import LiveView

    names = [f"s{i}" for i in range(500)]
    tally = following.Tally(names)
    out = Terminal()
    view = LiveView(Console(out, out, {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}), tally)
    for one in (
        event("run-started"),
        *(event("step-finished", name, 1.0, Status.CACHED) for name in names[:300]),
        event("step-started", "s300", 1.0, Status.RUNNING),
    ):
        tally.add(one)
        view.show(one)
    shown = view.chosen(names)
    view.close()
    assert "s300" in shown
    assert len(shown) < 60


def test_a_step_that_waits_after_it_failed_is_not_running():
    run, tally = Run("r", "p", "s", Status.RUNNING, {}, {}, 0.0, None, "h", 1), following.Tally(["a"])
    for kind, status in (("step-started", "running"), ("step-waiting", "pending"), ("step-started", "running")):
        tally.add(Event(kind, 0.0, run, "a"))
        assert tally.status["a"] == status


def test_the_summary():
    console = Console(io.StringIO(), io.StringIO(), {})
    tally = following.Tally(NAMES)
    for one in STORY:
        tally.add(one)
    from cellway.cli.console import WORDS, summary

    text = summary(console, {status: tally.number(status) for status in WORDS}, tally.elapsed, 12.1)
    assert text == "4 steps: 1 failed, 1 ran, 1 reused, 1 skipped · 5.1 s (saved 12.1 s)"


# --- completion -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a small notebook was run twice."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "small.py").write_text(SMALL)
    (folder / "failing.py").write_text(FAILING)
    (folder / "cellway.toml").write_text("jobs = 2\n")
    for words in (["run", "small.py"], ["run", "small.py", "-p", "n=4"]):
        done = cellway(folder, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


COMPLETED = {
    "commands": ("", {"run", "check", "--version"}),
    "some commands": ("r", {"run", "runs"}),
    "notebooks": ("run ", {"small.py", "failing.py"}),
    "a notebook": ("check sm", {"small.py"}),
    "options": ("run small.py --no", {"--no-cache"}),
    "steps of the notebook": ("run small.py --only ", {"load", "report"}),
    "steps behind a comma": ("run small.py --only load,", {"load,load", "load,report"}),
    "steps behind an equals sign": ("run small.py --until=r", {"--until=report"}),
    "steps of the last run": ("why ", {"load", "report"}),
    "parameters": ("run small.py -p ", {"n=", "name="}),
    "runs": ("why load --run l", {"last"}),
    "artifacts": ("export re", {"report.table", "report.total"}),
    "shells": ("completion ", {"bash", "zsh", "fish"}),
    "commands of help": ("help comp", {"completion"}),
    "statuses": ("runs --status ca", {"cached", "cancelled"}),
    "files": ("run small.py --parameters ", {completion.FILES}),
    "nothing behind nonsense": ("nonsense ", set()),
    "nothing for a notebook that is not there": ("run missing.ipynb --only ", set()),
}


@pytest.mark.parametrize("name", COMPLETED)
def test_completion(name, project, monkeypatch, capsys):
    line, expected = COMPLETED[name]
    monkeypatch.chdir(project)
    assert main(["__complete", *line.split(" ")]) == 0
    found = {word.partition("\t")[0] for word in capsys.readouterr().out.splitlines()}
    assert expected <= found
    if expected and name not in {"commands", "notebooks"}:
        assert found == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = completion.SCRIPTS[shell]
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes(project, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "cellway"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{PROGRAM[2]}' \"$@\"\n")
    program.chmod(0o755)
    script = f"""{completion.SCRIPTS["bash"]}
COMP_WORDS=(cellway run small.py --until r); COMP_CWORD=4
_cellway
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc"], input=script, cwd=project, env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout.split() == ["report"]


# --- commands over a real project -------------------------------------------------------------------------------


def test_a_run_in_which_nothing_changed_imports_nothing_heavy(project):
    assert cellway(project, "run", "small.py").returncode == 0
    code = (
        "import sys; from cellway.cli import main; code = main(['run', 'small.py'])\n"
        "print(code, *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('cellway')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, encoding="utf-8", check=True)
    assert re.match(r"2 steps: 2 reused · ", done.stdout)
    tops, ours = (set(line.split()) for line in done.stderr.splitlines())
    heavy = {
        "nbformat",
        "papermill",
        "pyarrow",
        "pandas",
        "IPython",
        "numpy",
        "rich",
        "yaml",
        "jupyter_client",
        "argparse",
    }
    assert tops & (heavy | {"dataclasses", "pathlib", "asyncio", "inspect"}) == set()
    assert ours & {"cellway.records", "cellway.analysis", "cellway.planning", "cellway.cli.following"} == set()


def test_a_cached_run_is_recorded(project):
    cellway(project, "run", "small.py")
    newest = json.loads(cellway(project, "runs", "-n", "1", "--json").stdout)[0]
    assert (newest["pipeline"], newest["status"]) == ("small", "completed")


def test_run_prints_the_authors_output_and_where_to_look(project):
    done = cellway(project, "run", "small.py", "-p", "name=b")
    assert done.returncode == 0
    assert "│ total 6" in done.stdout
    assert "2 steps: 1 ran, 1 reused" in done.stdout
    assert "executed notebooks: .cellway/runs/" in done.stdout
    again = cellway(project, "run", "small.py", "-p", "name=b")
    assert re.fullmatch(r"2 steps: 2 reused · .*\n", again.stdout)


def test_quiet_prints_one_line(project):
    done = cellway(project, "run", "small.py", "--no-cache=load", "--quiet")
    assert re.fullmatch(r"2 steps: .*\n", done.stdout)


def test_run_as_json_lines(project):
    done = cellway(project, "run", "small.py", "--no-cache", "load", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["kind"] == "run-started"
    assert told[-1]["run"]["status"] == "completed"
    assert {one["step"] for one in told if one["kind"] == "step-finished"} == {"load", "report"}
    cellway(project, "run", "small.py")
    told = [json.loads(line) for line in cellway(project, "run", "small.py", "--json").stdout.splitlines()]
    assert [one["kind"] for one in told] == ["run-cached"]


JSON = {
    "check": "check small.py",
    "show a graph": "show small.py",
    "show an artifact": "show report.table",
    "plan": "plan small.py -p n=9",
    "runs": "runs",
    "why": "why load",
    "logs": "logs load",
    "artifacts": "artifacts",
    "gc": "gc --dry-run",
    "doctor": "doctor",
    "completion": "completion bash",
    "help": "help",
    "init": "init plain.py",
    "convert": "convert small.py -o converted --overwrite",
    "export": "export report.table -o table.csv",
}


@pytest.mark.parametrize("name", JSON)
def test_json(name, project):
    (project / "plain.py").write_text(PLAIN)
    done = cellway(project, *JSON[name].split(), "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert {JSON[n].split()[0] for n in JSON} | {"run"} == set(COMMANDS)


def test_plan_says_why_and_shows_what_changed(project, tmp_path):
    changed = SMALL.replace("total = sum(values)", "total = sum(values) + 1")
    (project / "small.py").write_text(changed)
    try:
        done = cellway(project, "plan", "small.py", "-p", "n=4", "--svg", str(tmp_path / "plan.svg"))
    finally:
        (project / "small.py").write_text(SMALL)
    assert done.returncode == 0
    assert re.search(r"● +load +reused", done.stdout)
    assert re.search(r"○ +report +to run .*cell 1 changed", done.stdout)
    assert "  -total = sum(values)\n  +total = sum(values) + 1\n" in done.stdout
    assert "2 steps: 1 to run, 1 reused" in done.stdout
    assert 'class="cw-cached"' in (tmp_path / "plan.svg").read_text()


def test_why_names_the_parameter(project):
    cellway(project, "run", "small.py")
    cellway(project, "run", "small.py", "-p", "n=6")
    done = cellway(project, "why", "load")
    assert "parameter n: 3 → 6" in done.stdout
    assert cellway(project, "why", "laod").stderr.count("did you mean load?") == 1


def test_show_draws_writes_and_describes(project, tmp_path):
    done = cellway(project, "show", "small.py")
    assert done.stdout.startswith("load    ●\nreport  └─●  values ← load\n")
    assert re.search(r"^n +int +3 +how many$", done.stdout, re.MULTILINE)
    cellway(project, "show", "small.py", "-o", str(tmp_path / "g.svg"))
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    assert cellway(project, "show", "small.py", "--mermaid").stdout.startswith("flowchart LR\n")
    table = cellway(project, "show", "report.table").stdout
    assert re.search(r"^report\.table +pandas\.DataFrame", table)
    assert re.search(r"^0 +a$", table, re.MULTILINE)
    done = cellway(project, "show", "report.table", "--svg")
    assert (done.returncode, "draws a notebook" in done.stderr) == (2, True)


def test_export_writes_a_file(project, tmp_path):
    cellway(project, "run", "small.py")
    done = cellway(project, "export", "report.table", "-o", str(tmp_path / "table.csv"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.csv").read_text().splitlines()[:2] == [",value,name", "0,0,a"]


def test_logs(project):
    cellway(project, "run", "small.py")
    assert cellway(project, "logs", "load").stdout == "loading 3\n"
    assert re.search(r"─── load .*\nloading 3\n─── report .*\ntotal 6\n", cellway(project, "logs").stdout)


def test_a_failed_step_shows_the_authors_traceback_once(project):
    done = cellway(project, "run", "failing.py")
    assert done.returncode == errors.CellFailed.exit_code
    assert done.stderr.count("error: step broken, cell 2, line 3: KeyError: 'b'") == 1
    assert "----> " in done.stderr
    assert "site-packages/cellway" not in done.stderr
    assert "extension/cellway" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    executed = re.search(r"executed notebook: (\S+)", done.stderr)[1]
    assert (project / executed).is_file()
    assert "1 failed, 1 ran, 1 skipped" in done.stdout
    run = re.search(r"cellway run --resume (\S+)", done.stdout)[1]
    (project / "failing.py").write_text(FAILING.replace('["b"]', '["a"]'))
    resumed = cellway(project, "run", "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"● +load +reused", resumed.stdout)


def test_logs_of_a_run_that_failed_show_what_there_is(tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    cellway(tmp_path, "run", "failing.py")
    done = cellway(tmp_path, "logs")
    assert done.returncode == 0, done.stderr
    assert "before" in done.stdout
    assert "KeyError" in done.stdout
    assert "after" not in done.stdout  # it did not run
    assert list(json.loads(cellway(tmp_path, "logs", "--json").stdout)) == ["load", "broken"]
    assert cellway(tmp_path, "logs", "after").returncode == 2


def test_check_names_cell_line_and_fix(tmp_path):
    (tmp_path / "typo.py").write_text("# %%\n%%step a\nvalues = 1\n\n# %%\n%%step b\nprint(valuse)\n")
    done = cellway(tmp_path, "check", "typo.py")
    assert done.returncode == errors.NotebookError.exit_code
    assert "error: step b, cell 2, line 2: " in done.stdout
    assert "fix: " in done.stdout
    assert "[undefined]" in done.stdout
    run = cellway(tmp_path, "run", "typo.py")
    assert run.returncode == errors.Refusal.exit_code
    assert run.stdout == ""
    assert run.stderr.count("error:") == 1


def test_init_writes_only_when_told(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    done = cellway(tmp_path, "init", "plain.py")
    assert re.search(r"^2 +step load +import os", done.stdout, re.MULTILINE)
    assert "sum   └─●  rows ← load" in done.stdout
    assert path.read_text() == PLAIN
    assert cellway(tmp_path, "init", "plain.py", "--write").returncode == 0
    assert "%%step load\nimport os" in path.read_text()
    assert cellway(tmp_path, "check", "plain.py").returncode == 0


def test_the_runs_of_a_folder_below_are_found(project, tmp_path):
    shutil.copytree(project, tmp_path / "notebooks")
    done = cellway(tmp_path, "runs")
    assert "small" in done.stdout
    assert "the runs in notebooks" in done.stderr
    (tmp_path / "others" / ".cellway").mkdir(parents=True)
    done = cellway(tmp_path, "runs")
    assert (done.returncode, "--project" in done.stderr) == (2, True)
    assert "small" in cellway(tmp_path, "runs", "--project", "notebooks").stdout


def test_a_reader_that_leaves_is_no_error(project):
    reader = f"{' '.join(map(shell_quoted, PROGRAM))} help | head -n 1; echo ${{PIPESTATUS[0]}}"
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    done = subprocess.run(["bash", "-c", reader], cwd=project, capture_output=True, encoding="utf-8", check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in {"0", "141"}


def shell_quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


# --- terminals and signals ----------------------------------------------------------------------------------------


@POSIX
def test_output_that_cannot_be_written(project):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROGRAM, "runs"], cwd=project, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False
        )
    assert done.returncode == 1
    assert "what was printed cannot be written: No space left on device" in done.stderr
    assert "cellway itself failed" not in done.stderr
    closed = subprocess.run(
        ["sh", "-c", '"$0" "$@" >&- 2>&-', *PROGRAM, "runs"], cwd=project, capture_output=True, check=False
    )
    assert closed.returncode == 0


@POSIX
@pytest.mark.parametrize("columns", [60, 140])
def test_on_a_terminal_no_line_is_longer_than_it(columns, project):
    text, code = in_terminal(project, columns, "run", "small.py", "--no-cache")
    assert code == 0
    assert "\x1b[" in text
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text)]
    assert max(map(cells, shown)) <= columns
    assert [line for line in shown if re.match(r"✓ +report +ran", line)] != []


def in_terminal(folder: Path, columns: int, *words: str) -> tuple[str, int]:
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [*PROGRAM, *words],
        cwd=folder,
        env={**environment, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        close_fds=True,
    )
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        text += piece
    os.close(leader)
    return text.decode(), process.wait()


@POSIX
def test_ctrl_c_cancels_and_the_run_can_be_resumed(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [*PROGRAM, "run", "slow.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "waiting" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == errors.Cancelled.exit_code
    assert "press Ctrl-C again to kill" in err
    assert "1 cancelled" in rest
    assert "cellway run --resume" in rest
    newest = json.loads(cellway(tmp_path, "runs", "--json").stdout)[0]
    assert newest["status"] == "cancelled"
    deadline = time.monotonic() + 30
    while (tmp_path / ".cellway" / "tmp").exists() and any((tmp_path / ".cellway" / "tmp").iterdir()):
        assert time.monotonic() < deadline, "a working folder was left behind"
        time.sleep(0.1)


@POSIX
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_run_that_is_told_to_end_cancels(name, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    leader, follower = os.openpty()
    # Whoever runs the tests may have told its children to ignore the signal (`nohup`).
    heed = f"import signal; signal.signal(signal.{name}, signal.SIG_DFL); {PROGRAM[-1]}"
    process = subprocess.Popen(
        [*PROGRAM[:-1], heed, "run", "slow.py"],
        cwd=tmp_path,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(follower)
    text = b""
    while b"waiting" not in text:
        text += os.read(leader, 65536)
    process.send_signal(getattr(signal, name))
    if name == "SIGHUP":
        os.close(leader)  # the terminal was closed
    else:
        with contextlib.suppress(OSError):
            while piece := os.read(leader, 65536):
                text += piece
        os.close(leader)
        assert b"1 cancelled" in text
        assert b"\x1b[?25h" in text  # the cursor is back
    assert process.wait(60) == errors.Cancelled.exit_code
    (newest,) = json.loads(cellway(tmp_path, "runs", "--json").stdout)
    assert (newest["status"], newest["ended"] is None) == ("cancelled", False)
    assert not any((tmp_path / ".cellway" / "tmp").iterdir())


def test_a_run_whose_kernel_is_missing_has_failed_and_says_what_to_do(tmp_path):
    path = small_notebooks.write(tmp_path / "nb.ipynb", ["%%step a\nx = 1"])
    notebook = json.loads(path.read_text())
    notebook["metadata"]["kernelspec"] = {"name": "not-there", "display_name": "x", "language": "python"}
    path.write_text(json.dumps(notebook))
    done = cellway(tmp_path, "run", "nb.ipynb")
    assert (done.returncode, done.stderr.count("error:")) == (2, 1)
    assert "no kernel named 'not-there'" in done.stderr
    assert "ipykernel install --user --name not-there" in done.stderr
    (run,) = json.loads(cellway(tmp_path, "runs", "--json").stdout)
    assert (run["status"], run["ended"] is None) == ("failed", False)


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (("artifacts", "laod"), "has no step laod", "did you mean load?"),
        (("runs", "smal.py"), "no notebook smal.py", "did you mean `small.py`?"),
        (("run", "smal.py"), "no notebook smal.py", "did you mean `small.py`?"),
        (("run", "."), "is a folder, not a notebook", "name a notebook; there are `failing.py`, "),
        (("run", ""), "the name of the notebook is empty", ""),
    ],
)
def test_what_is_not_there(words, message, fix, project):
    done = cellway(project, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert fix in done.stderr


def test_doctor_finds_damaged_values(project, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(project, folder)
    blob = next(path for path in (folder / ".cellway" / "store" / "objects").glob("*/*") if path.stat().st_size > 4)
    blob.chmod(0o644)
    blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
    done = cellway(folder, "doctor")
    assert done.returncode == 1
    assert "1 stored value is damaged" in done.stdout
    fix = re.search(r"fix: rm (.*)", done.stdout)[1]
    Path(folder, fix).unlink()
    again = cellway(folder, "doctor")
    assert again.returncode == 0
    assert "1 stored values are missing" in again.stdout
    assert cellway(folder, "run", "small.py", "-p", "n=4").returncode == 0


@POSIX
def test_what_a_step_started_does_not_outlive_a_killed_run(tmp_path):
    source = "import subprocess, time\\nprint('child', subprocess.Popen(['sleep', '600']).pid)\\ntime.sleep(600)"
    small_notebooks.write(tmp_path / "nb.ipynb", [f"%%step a\n{source}".replace("\\n", "\n")])
    process = subprocess.Popen(
        [*PROGRAM, "run", "nb.ipynb"], cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    assert process.stdout is not None
    child = next(int(line.split()[-1]) for line in process.stdout if "child" in line)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            raise AssertionError("it still runs")
        time.sleep(0.05)


def test_hints_name_the_project_where_it_is_another_than_the_one_here(project, tmp_path):
    shutil.copytree(project, tmp_path / "notebooks")
    done = cellway(tmp_path, "run", "notebooks/small.py", "--no-cache=report", "-p", "name=z")
    hint = re.search(r"next: (cellway artifacts.*?) ·", done.stdout)[1]
    assert hint == "cellway artifacts --project notebooks"
    assert "report.table" in cellway(tmp_path, *hint.split()[1:]).stdout
