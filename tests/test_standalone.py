"""The standalone folder, run in processes in which cellway cannot be imported."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_notebooks import MOVING, SMALL, build, read, truth, write

from cellway import conversion

BLOCKER = """\
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"cellway", "cellway_magics"}:
            raise ImportError(f"{name} must not be needed here")


sys.meta_path.insert(0, Blocker())

# Where cellway is not installed, papermill does not find its engine.
import entrypoints

every = entrypoints.get_group_all
entrypoints.get_group_all = lambda group, path=None: [
    point for point in every(group, path) if not point.module_name.startswith("cellway")
]
"""


@pytest.fixture
def without_cellway(tmp_path) -> dict[str, str]:
    """Environment of processes, and of the kernels that they start, in which importing cellway fails."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKER)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "blocked")}
    done = subprocess.run(
        [sys.executable, "-c", "import cellway"], env=env, capture_output=True, text=True, check=False
    )
    assert "must not be needed" in done.stderr
    return env


def run(folder: Path, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "run.py", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def values(folder: Path, handover: Path, names: list[str], env: dict[str, str], package: str = "handover") -> dict:
    script = (
        f"import json, sys\nfrom {package} import artifacts\nartifacts.begin(sys.argv[1], step='look')\n"
        "print(json.dumps({name: artifacts.load(name) for name in sys.argv[2:]}))"
    )
    command = [sys.executable, "-c", script, str(handover), *names]
    return json.loads(subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout)


def test_no_file_imports_cellway(tmp_path):
    made = build(write(tmp_path / "small.ipynb", SMALL))
    folder = conversion.convert(made, tmp_path / "out", standalone=True, lock={})
    files = [path for path in folder.rglob("*") if path.suffix in {".py", ".ipynb"}]
    assert folder / "handover" / "artifacts.py" in files
    for path in files:
        assert not re.search(r"\b(from|import) cellway", path.read_text()), path
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [name for name in names if name.split(".")[0] in {"cellway", "cellway_magics"}], path
    # Everything that the copies import from each other is there.
    present = {str(p.relative_to(folder).with_suffix("")).replace(os.sep, ".").removesuffix(".__init__") for p in files}
    for path in files:
        for module in re.findall(r"^\s*(?:from|import) (handover[\w.]*)", path.read_text(), re.MULTILINE):
            guarded = "TYPE_CHECKING" in path.read_text()
            assert module in present or guarded, (path, module)


def test_the_folder_runs_without_cellway_and_gives_what_the_notebook_gives(tmp_path, without_cellway):
    path = write(tmp_path / "moving.ipynb", MOVING)
    folder = conversion.convert(build(path), tmp_path / "out", standalone=True)
    done = run(folder, "--output", str(tmp_path / "run"), env=without_cellway)
    assert done.returncode == 0, done.stderr
    assert "[3/3] 03_end.ipynb" in done.stdout
    names = ["values", "result"]
    assert values(folder, tmp_path / "run/artifacts", names, without_cellway) == truth(path, names, tmp_path)
    executed = json.loads((tmp_path / "run/02_change.ipynb").read_text())
    assert all(cell["execution_count"] for cell in executed["cells"] if cell["cell_type"] == "code")


def test_tables_and_arrays_go_from_step_to_step(tmp_path, without_cellway):
    cells = [
        "import numpy as np\nimport pandas as pd",
        "%%step make\nframe = pd.DataFrame({'a': [1, 2], 'b': ['x', None]})\narray = np.arange(6.0).reshape(2, 3)",
        "%%step change\nframe['c'] = frame['a'] * 2\narray += 1",
        "%%step look\nresult = [int(frame['c'].sum()), float(array.sum()), str(frame.dtypes['b'])]",
    ]
    path = write(tmp_path / "tables.ipynb", cells)
    folder = conversion.convert(build(path), tmp_path / "out", standalone=True)
    done = run(folder, "--output", str(tmp_path / "run"), env=without_cellway)
    assert done.returncode == 0, done.stderr
    assert values(folder, tmp_path / "run/artifacts", ["result"], without_cellway) == truth(path, ["result"], tmp_path)


def test_parameters_of_the_command_line(tmp_path, without_cellway):
    parameters = (
        "%%parameters\nn: int = 1  # how many\nrate: float = 0.5\nname: str = 'x'\non: bool = False\n"
        "items: list = [1]\nmaybe: int | None = 3\nway: Literal['a', 'b'] = 'a'\nunused = 7\n"
    )
    cells = [
        parameters,
        "%%step one\nresult = [n, rate, name, on, items, maybe, way]",
    ]
    folder = conversion.convert(build(write(tmp_path / "a.ipynb", cells)), tmp_path / "out", standalone=True)
    given = ["n=2", "rate=3", "name=3", "on=true", "items=[1, 2]", "maybe=None", "way=b"]
    done = run(folder, "-o", str(tmp_path / "run"), *(w for g in given for w in ("-p", g)), env=without_cellway)
    assert done.returncode == 0, done.stderr
    found = values(folder, tmp_path / "run/artifacts", ["result"], without_cellway)
    assert found["result"] == [2, 3.0, "3", True, [1, 2], None, "b"]
    shown = run(folder, "--help", env=without_cellway).stdout
    assert "n = 1  how many" in shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("m=2", "parameters are n, way; write NAME=VALUE"),
        ("n", "write NAME=VALUE"),
        ("n=two", "n is of type int"),
        ("way=c", "way is one of a, b"),
    ],
)
def test_wrong_parameters_are_named_before_anything_runs(tmp_path, without_cellway, given, message):
    cells = ["%%parameters\nn: int = 1\nway: Literal['a', 'b'] = 'a'", "%%step one\nresult = n, way"]
    folder = conversion.convert(build(write(tmp_path / "a.ipynb", cells)), tmp_path / "out", standalone=True)
    done = run(folder, "-o", str(tmp_path / "run"), "-p", given, env=without_cellway)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_it_stops_at_the_first_step_that_fails(tmp_path, without_cellway):
    cells = ["%%step one\nx = 1", "%%step two\ny = x / 0", "%%step three\nz = y"]
    folder = conversion.convert(build(write(tmp_path / "a.ipynb", cells)), tmp_path / "out", standalone=True)
    done = run(folder, "-o", str(tmp_path / "run"), env=without_cellway)
    assert done.returncode == 1
    assert "02_two.ipynb failed" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert (tmp_path / "run/02_two.ipynb").exists()
    assert not (tmp_path / "run/03_three.ipynb").exists()
    again = run(folder, "-o", str(tmp_path / "run"), env=without_cellway)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_own_modules_and_relative_files_come_along(tmp_path, without_cellway):
    home = tmp_path / "home"
    (home / "pkg").mkdir(parents=True)
    (home / "pkg/__init__.py").write_text("")
    (home / "pkg/inner.py").write_text("def double(x):\n    return 2 * x\n")
    (home / "data.txt").write_text("21")
    cells = [
        "from pkg import inner",
        "%%step one\nx = inner.double(int(open('data.txt').read()))",
        "%%step two\ny = [x]",
    ]
    modules = {f"pkg/{name}.py": home / f"pkg/{name}.py" for name in ("__init__", "inner")}
    folder = conversion.convert(build(write(home / "a.ipynb", cells)), home / "out", standalone=True, modules=modules)
    for file in (home / "pkg").glob("*.py"):
        file.unlink()
    done = run(folder, "-o", str(tmp_path / "run"), env=without_cellway)
    assert done.returncode == 0, done.stderr
    assert values(folder, tmp_path / "run/artifacts", ["y"], without_cellway) == {"y": [42]}


def test_a_module_of_the_users_called_handover(tmp_path, without_cellway):
    module = tmp_path / "handover.py"
    module.write_text("VALUE = 5\n")
    cells = ["import handover", "%%step one\nx = handover.VALUE", "%%step two\ny = [x]"]
    made = build(write(tmp_path / "a.ipynb", cells))
    folder = conversion.convert(made, tmp_path / "out", standalone=True, modules={"handover.py": module})
    done = run(folder, "-o", str(tmp_path / "run"), env=without_cellway)
    assert done.returncode == 0, done.stderr
    found = values(folder, tmp_path / "run/artifacts", ["y"], without_cellway, "notebook_handover")
    assert found == {"y": [5]}


def test_requirements_name_what_the_folder_needs(tmp_path):
    made = build(write(tmp_path / "small.ipynb", SMALL))
    lock = {"pandas": "3.1.0", "PyArrow": "22.0", "mine": "0.1 @ file:///x"}
    folder = conversion.convert(made, tmp_path / "out", standalone=True, lock=lock, python="3.12.4")
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines[1:3] == ["pandas==3.1.0", "PyArrow==22.0"]
    assert {"papermill", "ipykernel", "cloudpickle", "blake3"} <= set(lines)
    assert "pyarrow" not in lines
    assert lines[-1] == "# mine 0.1 @ file:///x"
    assert not (folder / "environment.lock").exists()


def test_it_is_still_a_folder_that_cellway_reads(tmp_path):
    made = build(write(tmp_path / "small.ipynb", SMALL))
    folder = conversion.convert(made, tmp_path / "out", standalone=True)
    assert read(folder).steps == made.steps
    conversion.convert(made, folder)  # back to the plain form: run.py and the package go
    assert not (folder / "run.py").exists()
    assert not (folder / "handover").exists()
