"""Reading notebook files, and writing tags into them."""

import json
import os
import subprocess
import sys

import jupytext
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellway import notebook
from cellway.errors import CellwayError, TagError, UnreadableNotebook, UsageError
from cellway.records import Role, StepOptions

CODE = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
TEXT = {"cell_type": "markdown", "metadata": {}}


def as_json(*cells, minor=5, **top):
    data = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": minor, **top}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def code(source, *tags, **more):
    return {**CODE, "metadata": {"tags": list(tags)} if tags else {}, "source": source, **more}


# --- reading .ipynb ---------------------------------------------------------------------------------------------------


def test_cells_kernel_and_language(tmp_path):
    path = tmp_path / "a.ipynb"
    cells = (
        {**TEXT, "source": ["# Title\n", "text"]},
        code("x = 1\ny = 2", id="one"),
        {**TEXT, "cell_type": "raw", "source": ""},
    )
    metadata = {"kernelspec": {"name": "py3"}, "language_info": {"name": "python"}}
    path.write_text(as_json(*cells, metadata=metadata), encoding="utf-8")
    read = notebook.read(path)
    assert (read.kernel, read.language, read.warnings) == ("py3", "python", ())
    assert read.path == str(path)
    assert [(c.index, c.kind, c.role, c.source) for c in read.cells] == [
        (0, "markdown", Role.TEXT, "# Title\ntext"),
        (1, "code", Role.EXPLORATION, "x = 1\ny = 2"),
        (2, "raw", Role.TEXT, ""),
    ]
    assert read.cells[1].id == "one"


@pytest.mark.parametrize(
    "text",
    [
        as_json(code("a\r\nb"), code(["a\r\n", "b"]), code("a\rb"), code(["a\n", "b"])),
        "\ufeff" + as_json(*[code("a\nb")] * 4),
        as_json(*[code("a\nb")] * 4).replace("\n", "\r\n"),
    ],
    ids=["in-sources", "byte-order-mark", "in-file"],
)
def test_line_ends_and_byte_order_mark(text, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_bytes(text.encode())
    assert [cell.source for cell in notebook.read(path).cells] == ["a\nb"] * 4


def test_the_digest_is_of_the_text():
    one, two = as_json(code("x = 1")), as_json(code("x = 2"))
    assert notebook.read_text(one, "a.ipynb").digest == notebook.read_text(one, "b.ipynb").digest
    assert notebook.read_text(one, "a.ipynb").digest != notebook.read_text(two, "a.ipynb").digest


def test_missing_ids_are_the_same_each_time_and_survive_a_new_cell_above():
    before = notebook.read_text(as_json(code("a"), code("b"), code("a"), minor=4), "a.ipynb")
    after = notebook.read_text(as_json(code("new"), code("a"), code("b"), code("a"), minor=4), "a.ipynb")
    ids = [cell.id for cell in before.cells]
    assert len(set(ids)) == 3
    assert [cell.id for cell in after.cells][1:] == ids


def test_duplicate_and_invalid_ids_are_mended_with_a_warning():
    read = notebook.read_text(as_json(code("a", id="x"), code("b", id="x"), code("c", id="no blanks")), "a.ipynb")
    ids = [cell.id for cell in read.cells]
    assert ids[0] == "x"
    assert len(set(ids)) == 3
    assert [warning.split(":")[0] for warning in read.warnings] == ["cell 2", "cell 3"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_old_formats_are_upgraded(version):
    v4 = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_markdown_cell("text")])
    if version == 3:
        text = json.dumps(nbformat.convert(v4, 3))
    else:
        cell = {"cell_type": "code", "code" if version == 1 else "input": "x = 1", "language": "python", "outputs": []}
        text = json.dumps(
            {"nbformat": 1, "cells": [cell]}
            if version == 1
            else {"nbformat": 2, "metadata": {}, "worksheets": [{"cells": [cell]}]}
        )
    first, second = notebook.read_text(text, "a.ipynb"), notebook.read_text(text, "a.ipynb")
    assert first.cells[0].source == "x = 1"
    assert first == second
    assert "format" in first.warnings[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ('{\n "cells": [}', "line 2, column 12"),
        ("[1]", "a list"),
        ("null", "a null"),
        ("{}", "`nbformat`"),
        ('{"nbformat": true}', "`nbformat`"),
        ('{"nbformat": 9, "cells": []}', "format 9"),
        ('{"nbformat": 4}', "`cells` are missing"),
        ('{"nbformat": 4, "cells": {}}', "not a list"),
        ('{"nbformat": 4, "cells": [1]}', "cell 1: a cell must be an object, here is a number"),
        (as_json({"cell_type": "sound", "source": ""}), "'sound'"),
        (as_json(code(5)), "`source`"),
        (as_json(code(["a", 5])), "`source`"),
        (as_json(code("", metadata=[])), "`metadata` must be an object, here is a list"),
        (as_json(code("", metadata={"tags": "step:a"})), "`tags`"),
        (as_json(code("")).replace('"cells"', '\n<<<<<<< HEAD\n"cells"'), "merge"),
        ("[" * 100_000, "deep"),
        ('{"nbformat": 3, "worksheets": 7}', "format 3"),
    ],
)
def test_what_is_no_notebook_is_refused_with_what_and_where(text, said):
    with pytest.raises(UnreadableNotebook) as caught:
        notebook.read_text(text, "a.ipynb")
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        notebook.read(tmp_path / "missing.ipynb")
    with pytest.raises(UsageError, match="folder"):
        notebook.read(tmp_path)
    (tmp_path / "a.ipynb").write_bytes(b'{"cells":\n "\xff"}')
    with pytest.raises(UnreadableNotebook, match="line 2"):
        notebook.read(tmp_path / "a.ipynb")
    (tmp_path / "a.Rmd").write_text("text")
    with pytest.raises(UnreadableNotebook, match="neither"):
        notebook.read(tmp_path / "a.Rmd")


def test_other_languages_are_named():
    metadata = {"kernelspec": {"name": "ir", "language": "R"}}
    assert notebook.read_text(as_json(code("x <- 1"), metadata=metadata), "a.ipynb").language == "r"


def test_reading_needs_no_heavy_library(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(as_json(code("%%step a --timeout 5m\nx = 1")))
    script = (
        f"import sys; from cellway import notebook; notebook.read({str(path)!r}); "
        "heavy = {'nbformat', 'papermill', 'pyarrow', 'pandas', 'IPython', 'numpy', 'yaml', 'rich', 'jsonschema'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- reading percent scripts -----------------------------------------------------------------

HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""


def test_percent_script():
    text = (
        HEADER + '# %% [markdown]\n# # Title\n\n# %% first tags=["step:a"] id="one"\n# %%time\nx = 1\n\n\n# %%\n# !ls\n'
    )
    read = notebook.read_text(text, "a.py")
    assert (read.kernel, read.language) == ("python3", "python")
    assert [(c.kind, c.role, c.step, c.source) for c in read.cells] == [
        ("markdown", Role.TEXT, None, "# Title"),
        ("code", Role.STEP, "a", "%%time\nx = 1"),
        ("code", Role.EXPLORATION, None, "!ls"),
    ]
    assert read.cells[1].id == "one"


def test_magics_of_cellway_in_a_script():
    read = notebook.read_text("# %%\n# %%step a --timeout 5m\nx = 1\n", "a.py")
    assert (read.cells[0].role, read.cells[0].step, read.cells[0].body) == (Role.STEP, "a", "x = 1")
    assert read.cells[0].options.timeout == 300


def test_a_plain_script_is_one_cell_as_it_is():
    read = notebook.read_text("#!/usr/bin/env python\nimport os\n\n# cat is an animal\nx = 1\n", "a.py")
    assert [cell.source for cell in read.cells] == ["import os\n\n# cat is an animal\nx = 1"]


@pytest.mark.parametrize("text", ["", "\n\n", "# %%\n", HEADER])
def test_empty_scripts(text):
    assert [cell.source for cell in notebook.read_text(text, "a.py").cells if cell.source] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER.replace("percent", "light") + "x = 1\n", "light"),
        ("import marimo\napp = marimo.App()\n@app.cell\ndef _():\n    return\n", "marimo"),
        ("# %% tags=[step:a]\nx = 1\n", "line 1"),
    ],
)
def test_scripts_that_are_refused(text, said):
    with pytest.raises(UnreadableNotebook, match=said):
        notebook.read_text(text, "a.py")


LINES = [
    *("x = 1", "", "", "  ", "    y = 2", "cat = 3", "def f():", 's = \'a\' # """', "'''", '"""', "# it's", "# text"),
    *(
        "# %%",
        "#%%",
        "  # %%",
        "# %% title",
        "# %% [markdown]",
        "# %% [raw]",
        '# %% [md] key="v"',
        "# %%%% sub",
        "# In[3]:",
    ),
    *('# %% tags=["step:a"]', '# %% foo tags=["a", "b c"] id="c1"', '# %% {"tags": ["setup"]}', "# %% a=1 tags=['t']"),
    *('# %% active="py"', '# %% active="ipynb"', '# %% language="R"', "# <codecell>", '# %% tags=["active-ipynb"]'),
    *(
        "# %%time",
        "# # %%time",
        "# %matplotlib inline",
        "%matplotlib inline",
        "# !ls -l \\",
        "#   more",
        "# ls",
        "# # ls",
    ),
    *("# cat file", "# what?", "# what is it?", "# x = !ls", "# files = %sx ls", "# %time # noescape", "# %a # escape"),
    *("# # Heading", "# + ", "# # + foo", "# ```", "# ~~~", "#", "# ?foo", "# %%step a"),
]


def theirs(text):
    return [(c.cell_type, c.source, tuple(c.metadata.get("tags", ()))) for c in jupytext.reads(text, fmt=".py").cells]


def ours(text):
    # Not through read(): the lines of the table are not all valid tags.
    from cellway.notebook import formats

    return [(cell.kind, cell.source, cell.tags) for cell in formats.parse(text, "a.py").cells]


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.sampled_from(LINES), max_size=9))
def test_scripts_are_read_as_jupytext_reads_them(header, lines):
    text = (HEADER if header else "# %%\n") + "\n".join(lines) + "\n"
    assert ours(text) == theirs(text)


SOURCES = st.lists(
    st.sampled_from([line.removeprefix("# ") for line in LINES if "%% " not in line and not line.endswith("%%")]),
    max_size=5,
).map("\n".join)
CELLS = st.lists(st.tuples(st.sampled_from(["code", "markdown", "raw"]), SOURCES, st.booleans()), max_size=5)


@settings(max_examples=200, deadline=None)
@given(CELLS)
def test_a_paired_script_reads_as_jupytext_reads_it(cells):
    made = nbformat.v4.new_notebook()
    for kind, source, tagged in cells:
        cell = getattr(nbformat.v4, f"new_{kind}_cell")(source)
        if tagged:
            cell.metadata["tags"] = ["step:a", "keep"]
        made.cells.append(cell)
    text = jupytext.writes(made, fmt="py:percent")
    assert ours(text) == theirs(text)


# --- writing tags ----------------------------------------------------------------------------

STEP = (1, Role.STEP, "train", StepOptions(after=("load",), timeout=300.0))
LOAD = (0, Role.STEP, "load", None)


def write(tmp_path, text, *tags, name="a.ipynb", **more):
    path = tmp_path / name
    path.write_bytes(text.encode())
    read = notebook.write_tags(path, tags, **more)
    new = path.read_bytes().decode()
    assert notebook.read(path) == read
    return new, read


@pytest.mark.parametrize("style", ["magics", "tags"])
@pytest.mark.parametrize("name", ["a.ipynb", "a.py"])
def test_what_is_written_reads_back(style, name, tmp_path):
    text = as_json(code("x = 1"), code("y = x")) if name == "a.ipynb" else "# %%\nx = 1\n\n# %% fit\ny = x\n"
    new, read = write(tmp_path, text, LOAD, STEP, style=style, name=name)
    assert [(c.role, c.step, c.body) for c in read.cells] == [
        (Role.STEP, "load", "x = 1"),
        (Role.STEP, "train", "y = x"),
    ]
    assert read.cells[1].options == STEP[3]
    # Taking the tags away again gives the file back.
    empty = [(index, Role.EXPLORATION, None, None) for index in (0, 1)]
    back, _ = write(tmp_path, new, *empty, name=name)
    assert [c.source for c in notebook.read_text(back, name).cells] == ["x = 1", "y = x"]
    if style == "magics":
        assert back == text


LAYOUTS = {
    "jupyter": as_json(code(["x = 1\n", "é\\u00e9"], extra=1e5), code([])),
    "escaped": json.dumps(json.loads(as_json(code("é"), code("y"))), indent=1) + "\n",
    "two": json.dumps(json.loads(as_json(code(["x\n", "y"]), code("y"))), indent=2),
    "tab": json.dumps(json.loads(as_json(code(["x\n", "y"]), code("y"))), indent="\t"),
    "compact": json.dumps(json.loads(as_json(code(["x\n", "y"], "t"), code("y")))),
    "dense": json.dumps(json.loads(as_json(code(["x\n", "y"]), code("y"))), separators=(",", ":")),
    "windows": as_json(code(["x\n", "y"]), code("y")).replace("\n", "\r\n"),
    "mark": "\ufeff" + as_json(code("x"), code("y")),
    "odd": '{"nbformat":4,"nbformat_minor":2,"metadata":{"n":1.0E+2,"s":"\\/"},\n'
    '"cells" : [ {"source":"a", "cell_type":"code","metadata":{ } },'
    '\n {"cell_type":"code" , "source":["b"],"outputs":[],"execution_count":null} ]}',
    "metadata": as_json(code("x", metadata={"collapsed": True, "zoom": 1}), code("y", metadata={"tags": []})),
    "unsorted": as_json(code("x", metadata={"zoom": {"a": 1}, "collapsed": True}), code("y", metadata={"z": 1})),
}


@pytest.mark.parametrize("style", ["magics", "tags"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_rest_of_the_file_stays_byte_for_byte(layout, style, tmp_path):
    text = LAYOUTS[layout]
    new, read = write(tmp_path, text, LOAD, STEP, style=style)
    assert [cell.step for cell in read.cells] == ["load", "train"]
    # What was put in can be cut out again, and nothing was taken away: the old text is a subsequence of the new.
    rest = iter(new)
    kept = text.replace('"metadata": {}', '"metadata": {').replace('"metadata":{ }', '"metadata":{').replace("[]", "[")
    assert all(char in rest for char in kept)
    old_data, new_data = json.loads(text.lstrip("\ufeff")), json.loads(new.lstrip("\ufeff"))
    for data in (old_data, new_data):
        for cell in data["cells"]:
            cell.pop("source")
            cell.setdefault("metadata", {}).pop("tags", None)
    assert new_data == old_data
    assert ("\r\n" in new) == ("\r\n" in text)
    assert new.count("\n") == new.count("\r\n") or "\r\n" not in new


def test_layout_of_what_is_written(tmp_path):
    new, _ = write(tmp_path, as_json(code(["x = 1\n", "x"]), code("y")), LOAD, style="tags")
    expected = json.loads(as_json(code(["x = 1\n", "x"]), code("y")))
    expected["cells"][0]["metadata"]["tags"] = ["step:load"]
    assert new == json.dumps(expected, indent=1) + "\n"
    new, _ = write(tmp_path, as_json(code(["x = 1\n", "x"]), code("y")), LOAD)
    assert new == as_json(code(["%%step load\n", "x = 1\n", "x"]), code("y"))


def test_other_tags_stay_and_own_ones_are_replaced(tmp_path):
    text = as_json(code("x", "remove-cell", "step:old", "retries:2"), code("%%step other\ny"))
    _, read = write(tmp_path, text, LOAD, (1, Role.SKIP, None, None), style="tags")
    assert read.cells[0].tags == ("remove-cell", "step:load")
    assert read.cells[0].options == StepOptions()
    assert (read.cells[1].role, read.cells[1].source) == (Role.SKIP, "y")


def test_a_magic_is_written_over_another_magic_and_in_place_of_an_old_one(tmp_path):
    text = as_json(code("%%time\nx = 1"), code("# why\n%%setup\ny = 1"))
    _, read = write(tmp_path, text, LOAD, (1, Role.STEP, "b", None))
    assert [cell.source for cell in read.cells] == ["%%step load\n%%time\nx = 1", "# why\n%%step b\ny = 1"]


def test_script_markers_keep_title_and_metadata(tmp_path):
    text = '# %% Fit it tags=["x"] id="one"\ny = 1\n# %% {"a": 1}\nz = 1\n# In[3]:\nw = 1\n'
    tags = [(index, Role.STEP, f"s{index}", None) for index in range(3)]
    new, _ = write(tmp_path, text, *tags, style="tags", name="a.py")
    assert new.split("\n")[::2] == [
        '# %% Fit it tags=["x", "step:s0"] id="one"',
        '# %% {"a": 1, "tags": ["step:s1"]}',
        '# %% tags=["step:s2"]',
        "",
    ]
    assert theirs(new)[0][2] == ("x", "step:s0")


@pytest.mark.parametrize("style", ["magics", "tags"])
def test_a_plain_script_gets_a_marker(style, tmp_path):
    new, read = write(tmp_path, "#!/usr/bin/python\nx = 1\n", LOAD, style=style, name="a.py")
    assert new.startswith("#!/usr/bin/python\n# %%")
    assert (read.cells[0].step, read.cells[0].body) == ("load", "x = 1")
    assert [source.split("\n")[-1] for _, source, _ in theirs(new)] == ["x = 1"]


def test_a_script_whose_magics_stand_bare(tmp_path):
    new, read = write(tmp_path, "# %%\n%matplotlib inline\n# cat is an animal\n", LOAD, name="a.py")
    assert read.cells[0].body == "%matplotlib inline\n# cat is an animal"
    assert new.split("\n")[1] == "%%step load"


def test_nothing_is_written_when_it_would_be_wrong(tmp_path):
    text = as_json(code("x"), {**TEXT, "source": "text"})
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    digest = notebook.read(path).digest
    wrong = [
        ([(5, Role.SETUP, None, None)], {}, UsageError),
        ([(1, Role.SETUP, None, None)], {}, UsageError),
        ([LOAD, LOAD], {}, UsageError),
        ([LOAD], {"style": "ink"}, UsageError),
        ([LOAD], {"digest": "other"}, UsageError),
        ([(0, Role.STEP, "no blanks", None)], {}, TagError),
        ([(0, Role.STEP, None, None)], {}, TagError),
        ([(0, Role.STEP, "a", StepOptions(after=("missing",)))], {}, TagError),
        ([(0, Role.STEP, "a", StepOptions(when="f(1, 2)"))], {"style": "tags"}, TagError),
    ]
    for tags, more, kind in wrong:
        with pytest.raises(kind):
            notebook.write_tags(path, tags, **more)
    assert path.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == ["a.ipynb"]
    notebook.write_tags(path, [LOAD], digest=digest)
    script = tmp_path / "a.py"
    script.write_text("# cat the file\nx = 1\n")
    with pytest.raises(CellwayError, match="without changing"):
        notebook.write_tags(script, [LOAD])
    assert script.read_text() == "# cat the file\nx = 1\n"


def test_mode_and_link_are_kept(tmp_path):
    real, link = tmp_path / "real.ipynb", tmp_path / "link.ipynb"
    real.write_text(as_json(code("x")))
    real.chmod(0o640)
    link.symlink_to(real)
    assert notebook.write_tags(link, [LOAD]).path == str(link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "%%step load" in real.read_text()
    real.chmod(0o440)
    if os.geteuid() != 0:
        with pytest.raises(UsageError, match="write-protected"):
            notebook.write_tags(link, [(0, Role.SETUP, None, None)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.ipynb", "real.ipynb"]


OPTIONS = st.builds(
    StepOptions,
    outputs=st.sampled_from([(), ("model",), ("model", "score")]),
    reads=st.sampled_from([(), ("data/*.csv",), ("a b.csv", "it's.csv")]),
    when=st.sampled_from([None, "n > 1", "name == 'a b'", 'name == "x"']),
    retries=st.integers(0, 99),
    timeout=st.sampled_from([None, 1.0, 90.0, 300.0, 7200.0, 0.5, 86400.0, 1234.5]),
    cpus=st.sampled_from([None, 1.0, 0.5, 1.25]),
    memory=st.one_of(st.none(), st.integers(1, 1 << 50), st.sampled_from([512_000_000, 4 << 30])),
    gpus=st.sampled_from([None, 0, 2]),
    kind=st.sampled_from([None, "gpu-train"]),
    seed=st.one_of(st.none(), st.just("own"), st.integers(0, (1 << 32) - 1)),
    no_cache=st.booleans(),
    cache_version=st.sampled_from([None, "2", "a b"]),
)


@settings(max_examples=200, deadline=None)
@given(OPTIONS, st.sampled_from(["magics", "tags"]))
def test_options_are_written_so_that_they_read_back(tmp_path_factory, options, style):
    path = tmp_path_factory.mktemp("options") / "a.ipynb"
    path.write_text(as_json(code("x")))
    assert notebook.write_tags(path, [(0, Role.STEP, "a", options)], style).cells[0].options == options
