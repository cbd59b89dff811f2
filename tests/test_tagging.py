"""Magics, cell tags and Kale's tags: what a notebook's author can say, and what is refused."""

import json
import re
from pathlib import Path

import pytest

from cellway import notebook
from cellway.errors import TagError
from cellway.notebook.options import OPTIONS
from cellway.records import Role, StepOptions

DOCS = Path(__file__).parents[1] / "docs" / "reference"


def read(*cells, **top):
    """A notebook of code cells: a source, or a source and its tags."""
    made = []
    for cell in cells:
        source, *tags = (cell,) if isinstance(cell, str) else cell
        made.append({"cell_type": "code", "metadata": {"tags": tags}, "source": source, "outputs": []})
    return notebook.read_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, **top}), "a.ipynb")


def refused(*cells):
    with pytest.raises(TagError) as caught:
        read(*cells)
    assert caught.value.place is not None
    assert caught.value.place.cell is not None
    assert caught.value.fix
    return caught.value


# --- roles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("magic", "tag", "role", "step"),
    [
        ("%%parameters", "parameters", Role.PARAMETERS, None),
        ("%%setup", "setup", Role.SETUP, None),
        ("%%step train", "step:train", Role.STEP, "train"),
        ("%%test load", "test:load", Role.TEST, "load"),
        ("%%skip", "skip", Role.SKIP, None),
    ],
)
def test_magics_and_tags_say_the_same(magic, tag, role, step):
    by_magic = read("%%step load", f"{magic}\nx = 1").cells[1]
    by_tag = read("%%step load", ("x = 1", tag)).cells[1]
    both = read("%%step load", (f"{magic}\nx = 1", tag)).cells[1]
    for cell in (by_magic, by_tag, both):
        assert (cell.role, cell.step, cell.body) == (role, step, "x = 1")
    assert (by_magic.offset, by_tag.offset) == (1, 0)


@pytest.mark.parametrize(
    ("source", "body", "offset"),
    [
        ("%%step a", "", 1),
        ("%%step a\n", "", 1),
        ("%%step a  \nx", "x", 1),
        ("%%step\ta\nx", "x", 1),
        ("\n\n%%step a\nx", "x", 3),
        ("# why\n\n# how\n%%step a\nx\ny", "x\ny", 4),
        ("%%step a\n%%time\nx", "%%time\nx", 1),
        ("%%step a\n\n%%time\nx", "\n%%time\nx", 1),
        ("%%step a\ntext = '''\n%%step b\n'''", "text = '''\n%%step b\n'''", 1),
    ],
)
def test_where_the_magic_may_stand(source, body, offset):
    cell = read(source).cells[0]
    assert (cell.role, cell.step, cell.body, cell.offset) == (Role.STEP, "a", body, offset)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        "# %%step a",
        "%%time\nx",
        "%%step?",
        "%%step??",
        "%load_ext cellway",
        "%reload_ext cellway\n",
        "%%writefile a.py\nx = 1\n%%step a\n",
        'text = """\n%%step a\n"""',
        "x = 5 %step",
        "%steps",
    ],
)
def test_cells_without_a_magic_are_exploration(source):
    assert read(source).cells[0].role is Role.EXPLORATION


@pytest.mark.parametrize(
    ("cells", "cell", "line", "said"),
    [
        (["%%step"], 0, 1, "`%%step` needs a name"),
        (["%%step --after a"], 0, 1, "needs a name"),
        (["%%step a b"], 0, 1, "takes one name"),
        (["%%step 1a"], 0, 1, "`a`"),
        (["%%step Größe"], 0, 1, "`Gr_e`"),
        (["%%step a."], 0, 1, "letters"),
        (["%%step a/b"], 0, 1, "`a_b`"),
        (["%%test"], 0, 1, "`%%test` needs the step"),
        (["%%step a", "%%test b"], 1, 1, "which does not exist"),
        (["%%step train", "%%test trian"], 1, 1, "did you mean `train`?"),
        (["%%setup x"], 0, 1, "stands alone"),
        (["%%parameters --after a"], 0, 1, "has no options"),
        (["%%skip --no-cache"], 0, 1, "has no options"),
        (["%%step a --after b \\\n--no-cache"], 0, 1, "continued"),
        (['%%step a --when "x'], 0, 1, "quote"),
        (["x = 1\n%%step a\ny"], 0, 2, "not the first line"),
        (["%%time\n%%step a\ny"], 0, 2, "not the first line"),
        (["%%step a\n%%step b\ny"], 0, 2, "second magic"),
        (["%%step a\n%%time\n\n%%setup"], 0, 4, "second magic"),
        (["  %%step a\n  x"], 0, 1, "indented"),
        (["%step a\nx"], 0, 1, "two percent signs"),
        (["# why\n%parameters\nx = 1"], 0, 2, "two percent signs"),
        (["%%Step a"], 0, 1, "fix: `%%step a`"),
        (["%%step:train\nx"], 0, 1, "fix: `%%step train`"),
        ([("x", "step")], 0, None, "`step` needs a name"),
        ([("x", "step:")], 0, None, "letters"),
        ([("x", "setup:now")], 0, None, "stands alone"),
        ([("x", "step:a", "step:b")], 0, None, "contradict"),
        ([("x", "step:a", "skip")], 0, None, "contradict"),
        ([("%%step a\nx", "step:b")], 0, 1, "cell tag says `step:b`"),
        ([("%%step a\nx", "setup")], 0, 1, "cell tag says `setup`"),
        ([("x", "setup", "retries:2")], 0, None, "belong to a step"),
        ([("x", "after:a")], 0, None, "in none"),
        ([("x", "no-cache")], 0, None, "in none"),
        ([("x", "Step:a")], 0, None, "did you mean `step:a`?"),
        ([("x", "steps:a")], 0, None, "did you mean `step:a`?"),
        ([("x", "step:a", "time-out:5m")], 0, None, "did you mean `timeout:5m`?"),
        ([("x", "step:a", "no-cache:yes")], 0, None, "takes no value"),
        (["%%step a", "%%step A"], 1, 1, "differ only in case"),
        (["%%step a --after a"], 0, 1, "after itself"),
        (["%%step a --after b", "%%step b"], 0, 1, "comes later"),
        (["%%step load", "%%step b --after laod"], 1, 1, "did you mean `load`?"),
        (["%%step b --after zzz"], 0, 1, "the steps are `b`"),
    ],
)
def test_what_is_wrong_is_refused_with_place_and_fix(cells, cell, line, said):
    error = refused(*cells)
    assert said in str(error)
    assert (error.place.cell, error.place.line) == (cell, line)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["%%paramters\nx = 1"], "did you mean `%%parameters`?"),
        ([("x = 1", "parameter")], "did you mean `parameters`?"),
        ([("x", "test")], "names no step"),
        ([("x", "step:a", "colour:red")], "`colour:red` has no meaning"),
        ([("x = 1", "injected-parameters")], "papermill"),
    ],
)
def test_what_is_only_odd_is_a_warning(cells, said):
    (warning,) = read(*cells).warnings
    assert said in warning


def test_tags_of_other_tools_are_left_alone():
    tags = ("remove-cell", "hide-input", "raises-exception", "nbval-skip", "colour:red", "solution", "active-ipynb")
    made = read(("x", *tags))
    assert (made.cells[0].role, made.cells[0].tags, made.warnings) == (Role.EXPLORATION, tags, ())


def test_parameters_that_papermill_put_in_count():
    made = read(("n = 1", "parameters"), ("n = 2", "injected-parameters"))
    assert [cell.role for cell in made.cells] == [Role.PARAMETERS, Role.PARAMETERS]


def test_tags_and_magics_on_text_cells_have_no_effect_and_are_mentioned():
    cell = {"cell_type": "markdown", "metadata": {"tags": ["step:a", "skip"]}, "source": "%%step a"}
    made = notebook.read_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}), "a.ipynb")
    assert made.cells[0].role is Role.TEXT
    assert len(made.warnings) == 2


# --- options -----------------------------------------------------------------------------------

VALUES = [
    ("retries", "2", 2),
    ("retries", "0", 0),
    ("timeout", "30", 30.0),
    ("timeout", "30s", 30.0),
    ("timeout", "0.5s", 0.5),
    ("timeout", "5m", 300.0),
    ("timeout", "2h", 7200.0),
    ("timeout", "1d", 86400.0),
    ("timeout", "1h30m", 5400.0),
    ("memory", "512", 512),
    ("memory", "512M", 512_000_000),
    ("memory", "4G", 4_000_000_000),
    ("memory", "4GB", 4_000_000_000),
    ("memory", "4GiB", 4 << 30),
    ("memory", "1.5gib", 3 << 29),
    ("memory", "2Ti", 2 << 40),
    ("cpus", "4", 4.0),
    ("cpus", "0.5", 0.5),
    ("gpus", "1", 1),
    ("seed", "own", "own"),
    ("seed", "7", 7),
    ("seed", "4294967295", 4294967295),
    ("kind", "gpu-train", "gpu-train"),
    ("backend", "slurm", "slurm"),
    ("kernel", "python3.12", "python3.12"),
    ("each", "region", "region"),
    ("when", "n > 100", "n > 100"),
    ("when", "kind == 'a b'", "kind == 'a b'"),
    (
        "when",
        "len(x[1:]) % 2 > -1 and not (a in {1, 2} if b else c is None)",
        "len(x[1:]) % 2 > -1 and not (a in {1, 2} if b else c is None)",
    ),
    ("cache-version", "2", "2"),
    ("in", "x", ("x",)),
    ("out", "model,score", ("model", "score")),
    ("out", "größe", ("größe",)),
    ("metrics", "accuracy", ("accuracy",)),
    ("reads", "data/*.csv,a b.txt", ("data/*.csv", "a b.txt")),
]


@pytest.mark.parametrize(("name", "text", "value"), VALUES)
def test_values(name, text, value):
    field = OPTIONS[name].field
    quoted = f'"{text}"' if " " in text else text
    written = [f"%%step a --{name} {quoted}", f"%%step a --{name}={quoted}", f"%%step --{name} {quoted} a"]
    for magic in written:
        assert read(magic).cells[0].options == StepOptions(**{field: value})
    tags = [f"{name}:{piece}" for piece in text.split(",")] if isinstance(value, tuple) else [f"{name}:{text}"]
    for cell in (("x", "step:a", *tags), ("x", *tags, "step:a"), ("%%step a\nx", *tags)):
        assert read(cell).cells[0].options == StepOptions(**{field: value})


def test_options_without_a_value():
    for cell in ("%%step a --no-cache", ("x", "step:a", "no-cache")):
        assert read(cell).cells[0].options == StepOptions(no_cache=True)


def test_after():
    for cell in ("%%step c --after a,b", "%%step c --after a --after=b", ("x", "step:c", "after:a", "after:b")):
        assert read("%%step a", "%%step b", cell).cells[2].options.after == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("retries", text) for text in ("-1", "1.5", "two", "", "99999999999")],
        *[("timeout", text) for text in ("0", "-5", "5x", "5 m", "", "nan", "1e3", "m")],
        *[("memory", text) for text in ("0", "lots", "4 G", "-1G", "4GG", "9999999P")],
        *[("cpus", text) for text in ("0", "nan", "inf", "x", "-1")],
        *[("gpus", text) for text in ("0.5", "-1")],
        *[("seed", text) for text in ("-1", "4294967296", "random", "1.0")],
        *[("in", text) for text in ("1a", "a b", "class", "a,", "a.b", "")],
        *[("after", text) for text in ("1", "a b", ",")],
        *[("kind", text) for text in ("", "a b")],
        *[("when", text) for text in ("x >", "x = 1", "", "f(x)", "x.y > 1", "x**9", "[a for a in x]", "(lambda: 1)")],
        *[("reads", text) for text in ("data\\x.csv", "", "a,,b")],
        ("cache-version", " "),
        ("each", "x y"),
    ],
)
def test_wrong_values_are_refused(name, text):
    for cell in (f"%%step a --{name}='{text}'", f"%%step a --{name} '{text}'", ("x", "step:a", f"{name}:{text}")):
        error = refused(cell)
        assert error.name == name
        assert f"`{name}`" in error.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--tmieout 5m", "did you mean `--timeout`?"),
        ("--no_cache", "did you mean `--no-cache`?"),
        ("--xyzzy", "the options are --after"),
        ("-r 2", "no option `-r`"),
        ("--timeout", "`--timeout` needs a value"),
        ("--timeout --no-cache", "`--timeout` needs a value"),
        ("--no-cache=1", "takes no value"),
        ("--retries 1 --retries 2", "`--retries` is 2 here, and 1"),
        ("# why", "takes one name"),
    ],
)
def test_wrong_options_are_refused(line, said):
    assert said in str(refused(f"%%step a {line}"))


def test_options_of_the_cells_of_a_step_add_up():
    made = read("%%step z", "%%step a --out x --retries 2", "y = 1", "%%step a --out y,x --after z --retries 2")
    expected = StepOptions(outputs=("x", "y"), retries=2, after=("z",))
    assert [cell.options for cell in made.cells] == [StepOptions(), expected, StepOptions(), expected]


def test_options_that_contradict_each_other_name_both_cells():
    error = refused("%%step a --timeout 5m", "x = 1", ("y = 1", "step:a", "timeout:2h"))
    assert error.place.cell == 2
    assert "`--timeout` is 2h here, and 5m in step a, cell 1" in error.message
    assert "2 here" in str(refused(("%%step a --retries 1", "retries:2")))


def test_a_repeated_option_with_the_same_value_is_fine():
    assert read("%%step a --retries 2 --retries 2", "%%step a --retries 2").cells[0].options.retries == 2


def test_every_option_and_magic_has_its_heading_with_an_example():
    for file, names in (
        ("options.md", [f"--{name}" for name in OPTIONS]),
        ("magics.md", ["%%parameters", "%%setup", "%%step", "%%test", "%%skip"]),
        ("tags.md", ["parameters", "setup", "step:NAME", "test:STEP", "skip", "after:NAME"]),
    ):
        sections = re.split(r"^## ", (DOCS / file).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        found = {section.split("\n", 1)[0]: section for section in sections}
        for name in names:
            assert "```" in found[f"`{name}`"], f"{file}: no example for {name}"


def examples():
    for file in ("magics.md", "options.md", "tags.md"):
        text = (DOCS / file).read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"^```(?:python|py)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)):
            yield pytest.param(block, id=f"{file}-{number}")


@pytest.mark.parametrize("block", list(examples()))
def test_the_examples_of_the_reference_are_valid_and_run(block):
    """An example is a percent script; its cells run from top to bottom."""
    made = notebook.read_text(block, "example.py")
    assert any(cell.role in {Role.STEP, Role.PARAMETERS, Role.SETUP, Role.SKIP} for cell in made.cells)
    namespace = {}
    for cell in made.cells:
        if cell.kind == "code":
            exec(compile(cell.body, "example", "exec"), namespace)


# --- Kale -----------------------------------------------------------------------------------

KALE = [
    ("x = 0",),
    ("import os", "imports"),
    ("import re",),
    ("def f(): ...", "functions"),
    ("n = 1", "pipeline-parameters"),
    ("a = n", "block:load", "limit:nvidia.com/gpu:2", "limit:cpu:500m", "limit:memory:4Gi"),
    ("a.show()", "skip"),
    ("b = a",),
    ("c = b", "step:train", "prev:load", "cache:disabled", "image:python:3.11"),
    ("d = c", "block:"),
    ("print(d)\nprint(c)", "pipeline-metrics"),
    ("print(a)",),
]


def test_kale():
    made = read(*KALE)
    assert [(str(cell.role), cell.step) for cell in made.cells] == [
        ("exploration", None),
        ("setup", None),
        ("setup", None),
        ("setup", None),
        ("parameters", None),
        ("step", "load"),
        ("skip", None),
        ("step", "load"),
        ("step", "train"),
        ("step", "train"),
        ("step", "pipeline-metrics"),
        ("step", "pipeline-metrics"),
    ]
    assert made.cells[7].options == StepOptions(gpus=2, cpus=0.5, memory=4 << 30)
    assert made.cells[8].options == StepOptions(after=("load",), no_cache=True)
    assert made.cells[10].options == StepOptions(after=("load", "train"), metrics=("d", "c"))
    assert len(made.warnings) == 2
    assert "like Kale, no step runs it" in made.warnings[0]
    assert "image:python:3.11" in made.warnings[1]


def test_only_steps_are_not_kale():
    assert [str(cell.role) for cell in read(("a", "step:a"), ("b",)).cells] == ["step", "exploration"]


def test_a_word_of_kale_in_a_notebook_of_cellway_is_mentioned():
    made = read(("import os", "imports"), "%%step a\nx = 1", ("y",))
    assert [str(cell.role) for cell in made.cells] == ["exploration", "step", "exploration"]
    assert "`imports` has no meaning" in made.warnings[0]
    assert read(("import os", "imports"), ("y",)).cells[1].role is Role.EXPLORATION


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([("a", "block:a"), "%%step b\nx"], "tagged for cellway"),
        ([("a", "pipeline-parameters"), ("b", "setup")], "tagged for cellway"),
        ([("a", "block:a"), ("b", "block:b", "prev:c")], "which does not exist"),
        ([("a", "block:a"), ("b", "block:b", "block:c")], "two steps"),
        ([("a", "block:a"), ("b", "prev:a")], "names none"),
        ([("a", "block:a"), ("", "notebook:other")], "another notebook"),
        ([("a", "block:A")], "lower-case"),
        ([("print(a)", "pipeline-metrics"), ("a", "block:a")], "below the `pipeline-metrics`"),
        ([("a", "block:a", "limit:memory:much")], "`memory` takes"),
    ],
)
def test_kale_notebooks_that_are_refused(cells, said):
    with pytest.raises(TagError) as caught:
        read(*cells)
    assert said in str(caught.value)
