"""Step notebooks and converted folders, through the public surface, over real notebooks."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_notebooks import MOVING, SMALL, build, read, truth, write

from cellway import conversion
from cellway.errors import Refusal, StoreError, UsageError
from cellway.records import Pipeline

BINDER = Path(__file__).parent.parent / "binder"


def cells_of(step_notebook: dict, role: str) -> list[str]:
    found = (c for c in step_notebook["cells"] if c["metadata"]["cellway"]["role"] == role)
    return ["".join(cell["source"]) for cell in found]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "small.ipynb", SMALL)


def edit(path: Path, role: str, change) -> None:
    """Edit the first cell of a role as somebody would in Jupyter."""
    said = json.loads(path.read_text())
    cell = next(c for c in said["cells"] if c["metadata"]["cellway"]["role"] == role)
    text = change("".join(cell["source"]))
    assert text != "".join(cell["source"])
    cell["source"] = text.splitlines(keepends=True)
    path.write_text(json.dumps(said, indent=1))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- step notebooks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tumours", "diabetes", "digits"])
def test_step_notebooks_are_valid_and_the_same_each_time(name):
    made = build(BINDER / f"{name}.ipynb")
    for step in made.steps:
        text = conversion.notebook_text(conversion.step_notebook(made, step))
        assert text == conversion.notebook_text(conversion.step_notebook(build(BINDER / f"{name}.ipynb"), step.name))
        nbformat.validate(nbformat.reads(text, as_version=4))
        assert text == nbformat.writes(nbformat.reads(text, as_version=4)) + "\n"  # the layout that Jupyter writes


def test_the_cells_of_a_step(small):
    made = build(small)
    book = conversion.step_notebook(made, "train")
    roles = [cell["metadata"]["cellway"]["role"] for cell in book["cells"]]
    assert roles == ["title", "parameters", "begin", "symbol", "setup", "inputs", "cell", "outputs"]
    assert cells_of(book, "title")[0].startswith("# train\n\nStep 2 of 3 of *small.ipynb* (cell 6).\n")
    assert "`values`" in cells_of(book, "title")[0]
    assert "from **load**" in cells_of(book, "title")[0]
    assert "to **report**" in cells_of(book, "title")[0]
    [parameters] = cells_of(book, "parameters")
    assert parameters.startswith('handover = "artifacts"')  # train reaches no parameter
    assert cells_of(book, "begin")[0].startswith(
        'from cellway_magics import artifacts\n\nartifacts.begin(handover, step="train"'
    )
    assert cells_of(book, "symbol") == ["import math\nimport json"]
    assert cells_of(book, "setup") == ["json.dumps({})"]
    assert cells_of(book, "inputs") == ['labels, values = artifacts.load("labels", "values")']
    assert cells_of(book, "cell") == [SMALL[5].removeprefix("%%step train\n")]
    assert cells_of(book, "outputs") == ['artifacts.save(globals(), "model")']
    tags = {cell["metadata"]["cellway"]["role"]: cell["metadata"].get("tags", []) for cell in book["cells"]}
    assert tags["parameters"] == ["parameters", "cellway"]
    assert tags["cell"] == []
    own = book["cells"][6]
    assert own["id"] == "c5"
    assert own["metadata"]["cellway"]["cell"] == 5
    assert own["metadata"]["cellway"]["offset"] == 1
    assert own["metadata"]["cellway"]["fingerprint"] == made.steps[1].cells[0].fingerprint


def test_parameters_are_verbatim_with_their_comment(small):
    [text] = cells_of(conversion.step_notebook(build(small), "load"), "parameters")
    assert text.split("\n")[:2] == ["n: int = 4  # how many", "name: str = 'x'"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('way: Literal["a", "b=c"] = "a"  # which', 'way: "Literal[\\"a\\", \\"b=c\\"]" = "a"  # which'),
        ("way: int | None = None", "way: int | None = None"),
        ("way: list[str] = ['a']", "way: list[str] = ['a']"),
        ("way: Optional[int] = 3", 'way: "Optional[int]" = 3'),
        ("way = [\n    1,  # one\n    2,\n]", "way = [\n    1,  # one\n    2,\n]"),
        ("way = 60 * 60  # seconds", "way = 60 * 60  # seconds"),
    ],
)
def test_annotations_need_no_import_before_the_parameters(tmp_path, line, shown):
    cells = [f"%%parameters\nfrom typing import Literal, Optional\n{line}", "%%step a\nx = way"]
    [text] = cells_of(conversion.step_notebook(build(write(tmp_path / "a.ipynb", cells)), "a"), "parameters")
    assert text.startswith(shown + "\n")
    exec(compile(text, "parameters", "exec"), {})


@pytest.mark.parametrize(
    ("code", "artifacts", "handover"),
    [
        ("x = 1", "artifacts", "handover"),
        ("artifacts = 1", "cellway_artifacts", "handover"),
        ("def f(artifacts):\n    return artifacts", "cellway_artifacts", "handover"),
        ("import artifacts", "cellway_artifacts", "handover"),
        ("from os import path as handover", "artifacts", "cellway_handover"),
        ("handover = 2\nx = f'{handover}'", "artifacts", "cellway_handover"),
        ("# artifacts go to handover\nx = 'artifacts'", "artifacts", "handover"),
        ("import math\nx = getattr(math, 'artifacts', math.pi)\nx = dict(handover=1)", "artifacts", "handover"),
        ("for artifacts, handover in []:\n    pass", "cellway_artifacts", "cellway_handover"),
        ("cellway_artifacts = artifacts = 1", "cellway_artifacts_", "handover"),
        ("%%time\nhandover = 1", "artifacts", "cellway_handover"),
    ],
)
def test_generated_names_are_never_the_notebooks(tmp_path, code, artifacts, handover):
    made = build(write(tmp_path / "a.ipynb", [f"%%step one\n{code}", "%%step two\ny = 1"]))
    assert conversion.handover_parameter(made) == handover
    for step in made.steps:
        book = conversion.step_notebook(made, step)
        assert re.search(rf"^{artifacts}\.begin\({handover}, ", cells_of(book, "begin")[0], re.MULTILINE)
        assert cells_of(book, "outputs")[0].startswith(f"{artifacts}.save(globals()")
        assert cells_of(book, "parameters")[0].startswith(f'{handover} = "artifacts"')


def test_parameters_called_like_generated_names(tmp_path):
    made = build(write(tmp_path / "a.ipynb", ["%%parameters\nhandover: int = 1", "%%step one\nx = handover"]))
    assert conversion.handover_parameter(made) == "cellway_handover"


def test_neighbouring_symbols_share_a_cell_laid_out_as_pep8_asks(tmp_path):
    helpers = "import math\nimport os\nLIMIT = 3\nOTHER = 4\n# Half of it.\ndef half(x):\n    return x / 2\nLAST = 5"
    cells = [helpers, "%%step a\nx = math.pi, os.sep, LIMIT, half(2), LAST"]
    [text] = cells_of(conversion.step_notebook(build(write(tmp_path / "a.ipynb", cells)), "a"), "symbol")
    assert text == (
        "import math\nimport os\n\nLIMIT = 3\n\n\n# Half of it.\ndef half(x):\n    return x / 2\n\n\nLAST = 5"
    )


def test_long_lists_of_names_are_wrapped(tmp_path):
    names = [f"a_rather_long_name_{number}" for number in range(12)]
    cells = [
        "%%step one\n" + "\n".join(f"{name} = {n}" for n, name in enumerate(names)),
        f"%%step two\nx = [{', '.join(names)}]",
    ]
    made = build(write(tmp_path / "a.ipynb", cells))
    for text in (
        *cells_of(conversion.step_notebook(made, "two"), "inputs"),
        *cells_of(conversion.step_notebook(made, "one"), "outputs"),
    ):
        compile(text, "cell", "exec")
        assert max(map(len, text.split("\n"))) <= 100


def test_ids_are_valid_and_unique(tmp_path):
    ids = ["cellway-begin", "cellway-inputs", "x" * 64, "x" * 63]
    cells = ["import math", "%%setup\npass", "%%step a\nx = math.pi", "%%step a\ny = x"]
    book = conversion.step_notebook(build(write(tmp_path / "a.ipynb", cells, ids)), "a")
    found = [cell["id"] for cell in book["cells"]]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in found)
    assert {"cellway-inputs", "x" * 64, "x" * 63} <= set(found)  # the user's cells keep theirs


def test_providers_and_outputs_of_a_run_override_the_static_ones(small):
    made = build(small)
    book = conversion.step_notebook(
        made, "train", providers={"values": "load"}, outputs=["model", "values"], handover="/x"
    )
    assert cells_of(book, "inputs") == ['values = artifacts.load("values")']
    assert cells_of(book, "outputs") == ['artifacts.save(globals(), "model", "values")']
    assert 'handover = "/x"' in cells_of(book, "parameters")[0]


def test_other_languages_are_refused_with_the_fix(small):
    made = dataclasses.replace(build(small), language="R", kernel="ir")
    with pytest.raises(Refusal, match=r"runs R") as refused:
        conversion.step_notebook(made, "load")
    assert "later version" in refused.value.fix


# --- folders ---------------------------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_in_the_folder(small, tmp_path):
    helper = tmp_path / "helpers.py"
    helper.write_bytes(b"A = 1\r\n")
    lock = {"pandas": "3.1.0", "NumPy": "2.0", "mine": "0.1 @ file:///home/me/mine", "odd": ""}
    folder = conversion.convert(
        build(small), tmp_path / "out", modules={"pkg/helpers.py": helper}, lock=lock, python="3.12.4"
    )
    found = snapshot(folder)
    assert set(found) == {
        "01_load.ipynb", "02_train.ipynb", "03_report.ipynb", "README.md", "environment.lock", "modules/pkg/helpers.py",
        "pipeline.yaml",
    }  # fmt: skip
    assert found["modules/pkg/helpers.py"][1] == b"A = 1\r\n"
    assert (folder / "environment.lock").read_text() == (
        "# Distributions that the imports of small reach, Python 3.12.4.\nNumPy==2.0\npandas==3.1.0\n"
        "# Local packages: no index has them, install them from their folders.\n"
        "# mine 0.1 @ file:///home/me/mine\n# odd\n"
    )
    assert 'papermill --cwd ".." 01_load.ipynb' in (folder / "README.md").read_text()
    assert conversion.workdir(folder) == tmp_path
    assert conversion.is_folder(folder)
    assert not conversion.is_folder(tmp_path)


def test_pipeline_yaml_reads_well(small, tmp_path):
    import yaml

    folder = conversion.convert(build(small), tmp_path / "out")
    text = (folder / "pipeline.yaml").read_text()
    said = yaml.safe_load(text)
    assert list(said)[:5] == ["format", "name", "source", "kernel", "language"]
    assert said["parameters"][0] == {"name": "n", "type": "int", "default": 4, "help": "how many", "cell": 2, "line": 2}
    assert [step["name"] for step in said["steps"]] == ["load", "train", "report"]
    assert said["steps"][1]["inputs"] == {"labels": "load", "values": "load"}
    assert said["steps"][2]["options"] == {"outputs": ["text"]}
    assert said["tests"][0]["source"] == "assert text.startswith(name)"
    assert "{" not in re.sub(r"source: .*", "", text)


def test_every_field_of_pipeline_yaml_is_documented():
    from cellway.conversion import manifest
    from cellway.records import Parameter, StepOptions

    page = (Path(__file__).parent.parent / "docs/reference/pipeline-yaml.md").read_text()
    fields = manifest._FIELDS | manifest._STEP_FIELDS | {f.name for f in dataclasses.fields(StepOptions)}
    fields |= {f.name for f in dataclasses.fields(Parameter)} - {"source"}
    assert {field for field in fields if f"`{field}`" not in page} == set()


def test_converting_again_touches_only_what_changed(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    before = snapshot(folder)
    conversion.convert(build(small), folder)
    assert snapshot(folder) == before
    write(small, [cell.replace("half(i)", "half(i + 1)") for cell in SMALL])
    (folder / "notes.txt").write_text("mine")
    conversion.convert(build(small), folder)
    after = snapshot(folder)
    assert after.pop("notes.txt")[1] == b"mine"
    assert {name for name in after if after[name] != before[name]} == {"01_load.ipynb", "pipeline.yaml"}


def test_an_executed_notebook_is_not_an_edit(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    path = folder / "01_load.ipynb"
    said = json.loads(path.read_text())
    for cell in said["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 3
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x"]}]
    injected = {"cell_type": "code", "execution_count": 1, "id": "p", "outputs": [], "source": ["n = 7"]}
    said["cells"].insert(2, injected | {"metadata": {"tags": ["injected-parameters"]}})
    path.write_text(json.dumps(said))
    before = snapshot(folder)
    conversion.convert(build(small), folder)
    assert snapshot(folder) == before
    assert read(folder).parameters[0].default == 4


def test_steps_that_are_gone_take_their_notebooks_with_them(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out", modules={"deep/er/a.py": __file__})
    (folder / "02_mine.ipynb").write_text("{}")
    write(small, [SMALL[0], SMALL[2], SMALL[3]])
    conversion.convert(build(small), folder)
    left = {path.name for path in folder.iterdir()}
    assert left == {"01_load.ipynb", "02_mine.ipynb", "README.md", "pipeline.yaml"}


@pytest.mark.parametrize("file", ["01_load.ipynb", "README.md", "pipeline.yaml", "modules/a.py"])
def test_an_edit_by_hand_is_not_overwritten_unasked(small, tmp_path, file):
    module = tmp_path / "a.py"
    module.write_text("A = 1\n")
    folder = conversion.convert(build(small), tmp_path / "out", modules={"a.py": module})
    if file.endswith(".ipynb"):
        edit(folder / file, "cell", lambda text: text + "\nmine = 1")
    elif file == "pipeline.yaml":
        replace(folder / file, "default: 4", "default: 5")
    else:
        (folder / file).write_text("mine\n")
    write(small, [cell.replace("half(i)", "half(i + 1)").replace("n: int = 4", "n: int = 6") for cell in SMALL])
    module.write_text("A = 2\n")
    before = snapshot(folder)
    made = build(small)
    if file == "README.md":  # changes with the steps
        made = dataclasses.replace(made, name="other")
    with pytest.raises(UsageError, match=re.escape(file)) as refused:
        conversion.convert(made, folder, modules={"a.py": module})
    assert "--overwrite" in refused.value.fix
    assert snapshot(folder) == before
    conversion.convert(made, folder, modules={"a.py": module}, overwrite=True)
    assert snapshot(folder)[file] != before[file]
    conversion.convert(made, folder, modules={"a.py": module})


def test_a_folder_with_something_else_is_left_alone(small, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.txt") as refused:
        conversion.convert(build(small), tmp_path / "out")
    assert "new folder" in refused.value.fix
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="is a file"):
        conversion.convert(build(small), small)


def test_a_place_that_cannot_be_written_is_named(small):
    with pytest.raises(StoreError, match=r"cannot be written to .*small\.ipynb"):
        conversion.convert(build(small), small / "out")


def test_an_edited_folder_is_brought_in_line_with_itself(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    replace(folder / "pipeline.yaml", "default: 4", "default: 5")
    edit(folder / "02_train.ipynb", "cell", lambda text: text + "\nextra = 1")
    before = read(folder)
    conversion.convert(before, folder, overwrite=True, workdir=conversion.workdir(folder))
    again = read(folder)
    assert comparable(again) == comparable(before)
    assert conversion.workdir(folder) == tmp_path
    [text] = cells_of(json.loads((folder / "01_load.ipynb").read_text()), "parameters")
    assert text.startswith("n: int = 5")


def test_a_file_of_the_users_in_the_way_is_kept(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    (folder / "environment.lock").write_text("mine")
    with pytest.raises(UsageError, match=r"environment\.lock"):
        conversion.convert(build(small), folder, lock={"a": "1"})
    assert (folder / "environment.lock").read_text() == "mine"


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py"])
def test_modules_stay_inside(small, tmp_path, name):
    with pytest.raises(UsageError, match="inside"):
        conversion.convert(build(small), tmp_path / "out", modules={name: __file__})
    assert not (tmp_path / "out").exists()


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import small_notebooks
from cellway.conversion import convert, folder

written, count = folder._write, 0


def write(path, content):
    global count
    count += 1
    if count > int(sys.argv[4]):
        os._exit(9)
    written(path, content)


folder._write = write
convert(small_notebooks.build(Path(sys.argv[2])), sys.argv[3], modules={"a.py": sys.argv[2]})
"""


def test_a_killed_conversion_is_finished_by_the_next(small, tmp_path):
    for count in (1, 3, 5):
        folder = tmp_path / f"out{count}"
        arguments = [str(Path(__file__).parent), str(small), str(folder), str(count)]
        assert subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False).returncode == 9
        write(small, [cell.replace("half(i)", f"half(i + {count})") for cell in SMALL])
        conversion.convert(build(small), folder, modules={"a.py": __file__})
        assert (folder / "modules/a.py").read_bytes() == Path(__file__).read_bytes()
        assert [step.name for step in read(folder).steps] == ["load", "train", "report"]
        assert not list(folder.glob(".*"))


# --- reading a folder ------------------------------------------------------------------------------------------


def comparable(made: Pipeline) -> dict:
    """What must be the same of a notebook and of its folder."""
    said = dataclasses.asdict(made)
    for field in ("source", "diagnostics"):
        del said[field]
    for parameter in said["parameters"]:
        del parameter["source"]
    for test in said["tests"]:
        test["code"].pop("cell_id")
    return said


@pytest.mark.parametrize("name", ["tumours", "diabetes", "digits"])
def test_round_trip_of_the_examples(name, tmp_path):
    made = build(BINDER / f"{name}.ipynb")
    again = read(conversion.convert(made, tmp_path / "out"))
    assert comparable(again) == comparable(made)
    assert again.source == str(tmp_path / "out")
    assert not [d for d in again.diagnostics if d.code == "derived-field"]


ROUND_TRIPS = {
    "symbols of a step cell": [
        "%%step a\nimport math\ndef f(x):\n    return math.sqrt(x)\ny = f(4)",
        "%%step b\nz = f(y)",
    ],
    "decorated, with comments": [
        "import functools\n# Kept.\n@functools.cache\n# Inner.\ndef f(x):\n    return x\nK = 1  # one",
        "%%step a\ny = f(K)",
    ],
    "several on a line": [
        "import os; import math\nA = 1; B = 2",
        "%%step a\ny = math.pi, A, os.sep",
        "%%step b\nz = B + A",
    ],
    "ambient and magics": ["%matplotlib inline\nimport os\nos.environ['A'] = '1'", "%%step a\ny = os.environ['A']"],
    "seeded in an untagged cell": [
        "import random\nrandom.seed(1)",
        "%%step a\nx = random.random()",
        "%%step b\ny = random.random()",
    ],
    "seeded below": ["import random", "%%step a\nx = random.random()", "random.seed(x)"],
    "two cells, another between": ["%%step a\nx = 1", "%%step b\nz = 2", "%%step a\nw = x + 1", "%%step c\nv = w + z"],
    "mutable constant": ["SEEN = []", "%%step a\nSEEN.append(1)", "%%step b\nn = len(SEEN)"],
    "parameter reassigned": ["%%parameters\nlr = 0.1", "%%step a\nlr = lr / 2", "%%step b\ny = lr"],
    "options": ["%%step a --retries 2 --timeout 60\nx = 1", "%%step b --after a --seed 3 --memory 2GB\ny = 2"],
    "magic line within": ["%%step a\nx = 1\n%time y = x + 1", "%%step b\nz = y"],
    "literal": ["%%parameters\nfrom typing import Literal\nway: Literal['a', 'b'] = 'a'", "%%step a\nx = way"],
    "unicode": ["größe = 1", "%%step berechne\nähnlich = größe + 1  # 日本"],
    "setup in the middle": ["%%step a\nx = 1", "%%setup\nimport math", "%%step b\ny = math.pi + x"],
    "star": ["from math import *", "%%step a\nx = pi"],
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_round_trip(name, tmp_path):
    made = build(write(tmp_path / "a.ipynb", ROUND_TRIPS[name]))
    again = read(conversion.convert(made, tmp_path / "out"))
    assert comparable(again) == comparable(made)
    # Converting what was read changes nothing but the title's source.
    texts = [
        conversion.notebook_text(conversion.step_notebook(dataclasses.replace(again, source=made.source), s))
        for s in again.steps
    ]
    assert texts == [conversion.notebook_text(conversion.step_notebook(made, s)) for s in made.steps]


LINES = st.sampled_from(
    [
        "a = 1",
        "b = [a]",
        "b = [2]",
        "c = f(2)",
        "d = {}",
        "import math",
        "def f(x):\n    return x + K",
        "K = 3",
        "e = math.pi",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.tuples(
            st.sampled_from(["", "", "%%setup\n", "%%step one\n", "%%step two\n", "%%step three\n"]),
            st.lists(LINES, min_size=1, max_size=4, unique=True),
        ),
        min_size=1,
        max_size=7,
    )
)
def test_round_trip_of_any_notebook(cells, tmp_path):
    import tempfile

    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    try:
        made = build(write(folder / "a.ipynb", [head + "\n".join(lines) for head, lines in cells]))
    except Refusal:
        return
    assert comparable(read(conversion.convert(made, folder / "out"))) == comparable(made)


def test_an_edit_in_a_step_notebook_is_followed(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    edit(folder / "02_train.ipynb", "cell", lambda text: text + "\nextra = len(labels)")
    edit(folder / "03_report.ipynb", "cell", lambda text: text.replace("of {n}", "of {n} ({extra})"))
    again, first = read(folder), build(small)
    assert again.steps[2].inputs == {"extra": "train", "model": "train"}
    assert "extra" in again.steps[1].outputs
    assert again.steps[1].cells[0].fingerprint != first.steps[1].cells[0].fingerprint
    assert dataclasses.replace(again.steps[0], later=()) == dataclasses.replace(first.steps[0], later=())


def test_an_edit_of_comments_and_layout_changes_no_fingerprint(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    edit(folder / "01_load.ipynb", "symbol", lambda text: text.replace("def half(x):", "def half( x ):  # a half"))
    edit(folder / "01_load.ipynb", "cell", lambda text: "# Numbers.\n" + text)
    prints = [[c.fingerprint for c in (*s.carried, *s.cells)] for s in build(small).steps]
    assert [[c.fingerprint for c in (*s.carried, *s.cells)] for s in read(folder).steps] == prints


def test_a_new_cell_belongs_to_the_step(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    path = folder / "02_train.ipynb"
    said = json.loads(path.read_text())
    new = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    place = next(i for i, c in enumerate(said["cells"]) if c["metadata"]["cellway"]["role"] == "cell")
    said["cells"].insert(place + 1, new | {"id": "after", "source": "more = model['sum']"})
    said["cells"].insert(
        place, new | {"id": "before", "source": ["import statistics\n", "middle = statistics.mean(values)"]}
    )
    path.write_text(json.dumps(said))
    again = read(folder)
    assert [code.cell_id for code in again.steps[1].cells] == ["before", "c5", "after"]
    assert {"middle", "model", "more"} <= set(again.steps[1].writes)
    assert [step.name for step in again.steps] == ["load", "train", "report"]


def test_shared_code_means_one_thing(tmp_path):
    cells = ["def f(x):\n    return x", "%%setup\nimport math", "%%step a\ny = f(1)", "%%step b\nz = f(y)"]
    folder = conversion.convert(build(write(tmp_path / "a.ipynb", cells)), tmp_path / "out")
    edit(folder / "02_b.ipynb", "symbol", lambda text: text.replace("return x", "return -x"))
    with pytest.raises(UsageError, match=r"`f` differs between 01_a\.ipynb and 02_b\.ipynb"):
        read(folder)
    edit(folder / "01_a.ipynb", "symbol", lambda text: text.replace("return x", "return -x"))
    assert "-x" in read(folder).steps[0].carried[0].source
    edit(folder / "01_a.ipynb", "setup", lambda text: text + "\nmath.pi")
    with pytest.raises(UsageError, match="setup cell differs"):
        read(folder)


@pytest.mark.parametrize("role", ["parameters", "begin", "inputs", "outputs"])
def test_an_edit_of_a_generated_cell_is_refused_with_the_right_place(small, tmp_path, role):
    folder = conversion.convert(build(small), tmp_path / "out")
    edit(folder / "01_load.ipynb", role, lambda text: text + "\nn = 5")
    with pytest.raises(UsageError, match=rf"01_load\.ipynb: .*{role}") as refused:
        read(folder)
    assert "pipeline.yaml" in refused.value.fix


def test_parameters_and_options_are_edited_in_pipeline_yaml(small, tmp_path):
    folder = conversion.convert(build(small), tmp_path / "out")
    replace(folder / "pipeline.yaml", "default: 4", "default: 5")
    replace(
        folder / "pipeline.yaml", "notebook: 02_train.ipynb", "notebook: 02_train.ipynb\n    options:\n      retries: 3"
    )
    again = read(folder)
    assert again.parameters[0].default == 5
    assert again.steps[1].options.retries == 3
    [text] = cells_of(conversion.step_notebook(again, "load"), "parameters")
    assert text.startswith("n: int = 5  # how many\nname: str = 'x'\n")
    replace(folder / "pipeline.yaml", "      - model", "      - modell")
    assert "derived-field" in {d.code for d in read(folder).diagnostics}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format: 1", "format: 2", "format 2"),
        ("format: 1", "fromat: 1", "not a pipeline.yaml"),
        ("workdir: ..", "work_dir: ..", "unknown field 'work_dir'"),
        ("    default: 4", "    defalt: 4", "unknown field 'defalt'"),
        ("notebook: 02_train.ipynb", "notebook: 09_train.ipynb", "09_train.ipynb is missing"),
        ("steps:\n", "steps: 3\nsteps_:\n", "unknown field 'steps_'"),
        ("    outputs:\n", "    options: {retry: 1}\n    outputs:\n", "unknown field 'retry'"),
        ("    outputs:\n", "    options: {retries: x}\n    outputs:\n", "'x', and a whole number from 0 on is"),
        ("    outputs:\n", "    options: {retries: -1}\n    outputs:\n", "-1, and a whole number from 0 on is"),
        ("    outputs:\n", "    options: {timeout: 5m}\n    outputs:\n", "'5m', and a number above 0 is expected"),
        ("    outputs:\n", "    options: {no_cache: 1}\n    outputs:\n", "1, and true or false is expected"),
        ("    outputs:\n", "    options: {when: yes}\n    outputs:\n", "True, and a text is expected"),
        ("    outputs:\n", "    options: {reads: [1]}\n    outputs:\n", "and a list of texts is expected"),
        ("    outputs:\n", "    options: {seed: me}\n    outputs:\n", "and a whole number from 0 on, or own, is"),
        ("    default: 4", "    default: four", "parameter n: its default 'four' is not of type int"),
        ("    default: 4", "    default: 4.5", "parameter n: its default 4.5 is not of type int"),
        ("    default: 4", "    default: true", "parameter n: its default True is not of type int"),
        ("    default: 4", "    default:", "parameter n: its default is missing"),
        ("    default: 4", "    default: 4\n    choices: [5]", "parameter n: its default 4 is not among its choices"),
        ("type: int", "type: integer", "parameter n: there is no type 'integer'"),
        ("    type: int\n    default: 4", "    default: 2024-01-01", "is no value for a parameter"),
        ("name: small", "name: [", "cannot be read"),
    ],
)
def test_mistakes_in_pipeline_yaml_are_named(small, tmp_path, old, new, message):
    folder = conversion.convert(build(small), tmp_path / "out")
    replace(folder / "pipeline.yaml", old, new)
    with pytest.raises(UsageError, match=re.escape(message)):
        read(folder)


def test_reading_what_is_no_converted_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no pipeline\.yaml"):
        read(tmp_path)
    with pytest.raises(UsageError, match=r"no pipeline\.yaml"):
        read(tmp_path / "missing")


# --- running it ------------------------------------------------------------------------------------------------


def stored(folder: Path, names: list[str], workdir: Path) -> dict:
    """The same values out of a hand-over folder, by the same means that a step has."""
    script = (
        "import json, sys\nfrom cellway_magics import artifacts\nartifacts.begin(sys.argv[1], step='look')\n"
        "print(json.dumps({name: artifacts.load(name) for name in sys.argv[2:]}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), *names], check=True, capture_output=True, text=True, cwd=workdir
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["papermill", "nbclient"])
def test_the_folder_gives_what_the_notebook_gives(tmp_path, how):
    path = write(tmp_path / "moving.ipynb", MOVING)
    names = ["values", "result"]
    folder = conversion.convert(build(path), tmp_path / "out")
    for file in sorted(folder.glob("0*.ipynb")):
        if how == "papermill":
            import papermill

            papermill.execute_notebook(
                file,
                tmp_path / "done.ipynb",
                cwd=folder,
                progress_bar=False,
                parameters={"handover": str(folder / "artifacts")},
            )
        else:
            import nbclient

            nbclient.NotebookClient(
                nbformat.read(file, as_version=4), resources={"metadata": {"path": str(folder)}}
            ).execute()
    assert stored(folder / "artifacts", names, tmp_path) == truth(path, names, tmp_path)


PLAIN = {
    "a list of constants that a step changes": [
        "SEEN = []\n\n\ndef see(x):\n    SEEN.append(x)",
        "%%step a\nsee(1)",
        "%%step b\nx = len(SEEN)",
        "%%step c\nsee(2)",
        "%%step d\nresult = [SEEN, x]",
    ],
    "a list of parameters that a step may change": [
        "%%parameters\nwanted: list = [3, 1]",
        "%%step a\nfirst = sorted(wanted)[0]\nwanted.sort()",
        "%%step b\nresult = [wanted, first]",
    ],
    "names of generated cells": [
        "%%step a\nartifacts = [1]\nhandover = {'x': artifacts}",
        "%%step b\nartifacts.append(2)\nresult = [artifacts, handover]",
    ],
    "no inputs, seeded": [
        "import random\nrandom.seed(3)",
        "%%step a\nx = random.random()",
        "%%step b\nresult = [random.random()]",
        "%%step c\nresult = [*result, x]",
    ],
}


@pytest.mark.parametrize("name", PLAIN)
def test_run_by_papermill_alone(tmp_path, name):
    import papermill

    path = write(tmp_path / "plain.ipynb", PLAIN[name])
    made = build(path)
    folder = conversion.convert(made, tmp_path / "out")
    given = {conversion.handover_parameter(made): str(tmp_path / "values")}
    for file in sorted(folder.glob("0*.ipynb")):
        papermill.execute_notebook(file, tmp_path / "done.ipynb", cwd=folder, progress_bar=False, parameters=given)
    assert stored(tmp_path / "values", ["result"], tmp_path) == truth(path, ["result"], tmp_path)


def test_seeds_are_those_of_a_run(tmp_path):
    from cellway import planning
    from cellway.ledger import Ledger
    from cellway.planning import Context

    cells = ["import random", "%%step a\nx = random.random()", "%%step b --seed 7\ny = random.random()"]
    made = build(write(tmp_path / "a.ipynb", cells))
    folder = conversion.convert(made, tmp_path / "out")
    context = Context(
        root=str(tmp_path), source=made.source, cache=Ledger(str(tmp_path / "l.sqlite")), has=lambda _: False
    )
    for step, file in zip(made.steps, sorted(folder.glob("0*.ipynb")), strict=True):
        [begin] = cells_of(json.loads(file.read_text()), "begin")
        assert f"seed={planning.seed(step, context)})" in begin


def test_seeding_anew_between_steps_is_refused(tmp_path):
    cells = [
        "import random\nrandom.seed(1)",
        "%%step a\nx = random.random()",
        "random.seed(2)",
        "%%step b\ny = random.random()",
    ]
    with pytest.raises(Refusal, match="seeded anew") as refused:
        conversion.convert(build(write(tmp_path / "a.ipynb", cells)), tmp_path / "out")
    assert refused.value.fix == "move the line that seeds into a cell of step b"


def test_a_folder_and_its_notebook_share_one_cache(small, tmp_path):
    from cellway import Project

    def run(source: Path) -> dict[str, str]:
        finished = [event.step_run for event in project.run(source) if event.kind == "step-finished"]
        return {done.step: str(done.status) for done in finished}

    project = Project(tmp_path)
    assert set(run(small).values()) == {"completed"}
    folder = project.convert(small, tmp_path / "out")
    assert run(folder) == {"load": "cached", "train": "cached", "report": "cached"}
    edit(folder / "02_train.ipynb", "cell", lambda text: text.replace("fsum", "prod"))
    assert run(folder) == {"load": "cached", "train": "completed", "report": "completed"}
    assert run(small) == {"load": "cached", "train": "cached", "report": "cached"}


def test_local_modules_are_found_by_hand(tmp_path):
    (tmp_path / "helpers_of_mine.py").write_text("def double(x):\n    return 2 * x\n")
    path = write(tmp_path / "a.ipynb", ["import helpers_of_mine as h", "%%step a --out x\nx = h.double(4)"])
    folder = conversion.convert(
        build(path), tmp_path / "o/ut", modules={"helpers_of_mine.py": tmp_path / "helpers_of_mine.py"}
    )
    (tmp_path / "helpers_of_mine.py").unlink()
    import nbclient

    nbclient.NotebookClient(
        nbformat.read(folder / "01_a.ipynb", as_version=4), resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert stored(folder / "artifacts", ["x"], tmp_path) == {"x": 8}


def test_importing_conversion_is_light():
    script = "import sys, cellway.conversion; print(*(m for m in sys.argv[1:] if m in sys.modules))"
    heavy = ["yaml", "nbformat", "papermill", "pyarrow", "IPython", "numpy"]
    done = subprocess.run([sys.executable, "-c", script, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


TOGETHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import small_notebooks
small_notebooks.conversion.convert(small_notebooks.build(Path(sys.argv[2])), sys.argv[3])
"""


def test_two_conversions_at_once(small, tmp_path):
    arguments = [sys.executable, "-c", TOGETHER, str(Path(__file__).parent), str(small), str(tmp_path / "out")]
    running = [subprocess.Popen(arguments) for _ in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert comparable(read(tmp_path / "out")) == comparable(build(small))
