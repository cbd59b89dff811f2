"""The demo notebooks in binder/: what their readers are promised, and that they run."""

import ast
import base64
import os
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

BINDER = Path(__file__).parent.parent / "binder"

STEPS = {
    "tumours": ["load", "clean", "features", "forest", "logistic", "boosting", "compare", "figure", "report"],
    "digits": ["load", "clean", "features", "forest", "logistic", "machine", "compare", "learning", "figure", "report"],
    "diabetes": [
        *["load", "clean", "weight", "burden", "split", "models"],
        *["linear", "forest", "boosting", "compare", "figure", "report"],
    ],
}
MODELS = {
    "tumours": ["forest", "logistic", "boosting"],
    "digits": ["forest", "logistic", "machine"],
    "diabetes": ["linear", "forest", "boosting"],
}
CELLWAY_MAGIC = re.compile(r"%%(parameters|setup|step|test|skip)\b *(\w*)")
CELLWAY_TAG = re.compile(r"(parameters|setup|step|test|skip)(?::(\w+))?")

every_notebook = pytest.mark.parametrize("name", STEPS)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(BINDER / f"{name}.ipynb", nbformat.NO_CONVERT)


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def role(cell: nbformat.NotebookNode) -> str:
    """`step:clean`, `setup`, ... whether a magic or a tag says so; empty for an untagged cell."""
    found = [CELLWAY_TAG.fullmatch(tag) for tag in cell.metadata.get("tags", [])]
    found.append(CELLWAY_MAGIC.match(cell.source))
    roles = [":".join(filter(None, match.groups())) for match in found if match]
    assert len(roles) <= 1, f"cell {cell.id} has several roles"
    return roles[0] if roles else ""


def python(cell: nbformat.NotebookNode) -> ast.Module:
    """The cell's code without its magics."""
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")))


def names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


@every_notebook
def test_is_committed_without_outputs(name):
    for cell in code_cells(name):
        assert cell.outputs == [], cell.id
        assert cell.execution_count is None, cell.id


@every_notebook
def test_is_a_valid_notebook_for_the_python3_kernel(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"


@every_notebook
def test_is_stored_as_jupyter_stores_it(name):
    stored = (BINDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert stored == nbformat.writes(read(name)) + "\n", "saving it in JupyterLab would change more than was edited"


@every_notebook
def test_cell_ids_are_unique_readable_words(name):
    ids = [cell.id for cell in read(name).cells]
    assert len(set(ids)) == len(ids)
    assert [cell_id for cell_id in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", cell_id)] == []


@every_notebook
def test_begins_with_a_title_and_prose(name):
    title = read(name).cells[0]
    assert title.cell_type == "markdown"
    assert title.source.startswith("# ")
    assert len(title.source.splitlines()) > 3


@every_notebook
def test_steps_come_in_the_order_of_the_story(name):
    roles = [role(cell) for cell in code_cells(name)]
    steps = [each.removeprefix("step:") for each in roles if each.startswith("step:")]
    assert list(dict.fromkeys(steps)) == STEPS[name]
    assert len(steps) > len(set(steps)), "one step is made of two cells"


@every_notebook
def test_has_one_cell_of_each_other_kind(name):
    roles = [role(cell) for cell in code_cells(name)]
    assert [roles.count(kind) for kind in ("setup", "parameters", "test:compare", "skip")] == [1, 1, 1, 1]
    explored = [cell for cell in code_cells(name) if cell.id == "explore"]
    assert [role(cell) for cell in explored] == [""]


@every_notebook
def test_parameters_have_a_type_and_a_help_text(name):
    (cell,) = [cell for cell in code_cells(name) if role(cell) == "parameters"]
    lines = cell.source.splitlines()[cell.source.startswith("%%") :]
    assert len(lines) >= 4
    for line in lines:
        assert re.fullmatch(r"\w+: (int|float|str|bool) = [^#]+  # \S.*", line), line


@every_notebook
def test_every_parameter_is_read_by_a_step(name):
    cells = code_cells(name)
    (parameters,) = [names(python(cell), ast.Store) for cell in cells if role(cell) == "parameters"]
    read_by_steps = set().union(*(names(python(cell), ast.Load) for cell in cells if role(cell).startswith("step:")))
    assert parameters - read_by_steps == set()


@pytest.mark.parametrize("name", ["tumours", "diabetes"])
def test_magics_alone_tag_the_cells(name):
    cells = code_cells(name)
    assert cells[0].source == "%load_ext cellway"
    assert not any("tags" in cell.metadata for cell in cells)


def test_tags_alone_tag_the_digits():
    assert not any(line.startswith("%") for cell in code_cells("digits") for line in cell.source.splitlines())


@every_notebook
def test_models_do_not_read_each_other(name):
    cells = code_cells(name)
    binds, reads = ({model: set() for model in MODELS[name]} for _ in range(2))
    for cell in cells:
        model = role(cell).removeprefix("step:")
        if model in MODELS[name]:
            binds[model] |= names(python(cell), ast.Store)
            reads[model] |= names(python(cell), ast.Load) - names(python(cell), ast.Store)
    for model in MODELS[name]:
        others = set().union(*(binds[other] for other in MODELS[name] if other != model))
        assert reads[model] & others == set()


@every_notebook
def test_untagged_cells_bind_only_what_cellway_carries(name):
    for cell in code_cells(name):
        if role(cell):
            continue
        for statement in python(cell).body:
            if isinstance(statement, ast.Assign):
                ast.literal_eval(statement.value)  # raises unless it is a constant
            else:
                assert isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Expr), cell.id


def test_diabetes_alone_draws_from_the_global_generator():
    seeding = {
        name: [
            (role(cell), "np.random.seed(" in cell.source) for cell in code_cells(name) if "np.random" in cell.source
        ]
        for name in STEPS
    }
    assert seeding.pop("diabetes") == [
        ("setup", True),
        ("", False),  # a helper that draws, carried into the steps that call it
        ("step:split", False),
        ("step:figure", False),
    ]
    assert seeding == {"tumours": [], "digits": []}


@pytest.mark.slow
@every_notebook
def test_runs_from_top_to_bottom(name, tmp_path):
    notebook = read(name)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    noise = [output for cell in outputs.values() for output in cell if output.get("name") == "stderr"]
    assert noise == [], "a demo shows no warnings"
    pictures = [output.data["image/png"] for output in outputs["figure"] if "image/png" in output.get("data", {})]
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG")
    assert [output.data["text/markdown"][:2] for output in outputs["report"] if "data" in output] == ["**"]


def test_binder_builds_the_front_end_and_installs_the_demo():
    environment = yaml.safe_load((BINDER / "environment.yml").read_text(encoding="utf-8"))
    assert {re.split(r"[ =<>]", package)[0] for package in environment["dependencies"]} >= {"python", "nodejs", "pip"}
    build = BINDER / "postBuild"
    assert os.access(build, os.X_OK)
    assert ".[lab,demo]" in build.read_text(encoding="utf-8")


@every_notebook
def test_the_readme_says_what_it_shows(name):
    assert f"]({name}.ipynb)" in (BINDER / "README.md").read_text(encoding="utf-8")
