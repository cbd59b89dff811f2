"""Documents that cannot go stale: everything has a heading, links lead somewhere, examples do what they show."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path

import jupytext
import pytest
import yaml

from cellway import errors, plugins
from cellway.cli.commands import COMMANDS, COMMON
from cellway.cli.parsing import usage
from cellway.notebook.grammar import OPTIONS, ROLES
from cellway.project import Project
from cellway.project.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "binder").glob("*.md")])

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def lines(text: str) -> Iterator[tuple[bool, str]]:
    """Lines, each with whether it is part of a code block."""
    fence = ""
    for line in text.splitlines():
        mark = re.match(r"(`{3,})", line.lstrip())
        yield bool(mark or fence), line
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""


def lines_outside_code(text: str) -> list[str]:
    return [line for code, line in lines(text) if not code]


def headings(page: Path) -> list[str]:
    """Texts of the headings of a page, without backticks."""
    found = [re.match(r"#{1,6} +(.*?) *#*$", line) for line in lines_outside_code(page.read_text("utf-8"))]
    return [match[1].replace("`", "") for match in found if match]


def anchors(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    found: set[str] = set()
    for heading in headings(page):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower(), flags=re.UNICODE).replace(" ", "-")
        number = 0
        while (candidate := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(candidate)
    return found


def section(page: Path, heading: str) -> str:
    """Text under a heading, up to the next one, in one line."""
    found: list[str] | None = None
    for code, line in lines(page.read_text("utf-8")):
        match = None if code else re.match(r"#{1,6} +(.*?) *#*$", line)
        if match and found is not None:
            break
        if match and match[1].replace("`", "") == heading:
            found = []
        elif found is not None:
            found.append(line)
    assert found is not None, f"{page.name} has no heading {heading!r}"
    return " ".join(" ".join(found).split())


# --- everything has a heading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_command(name):
    command = COMMANDS[name]
    text = section(REFERENCE / "commands.md", f"cellway {name}")
    assert f"`{usage(command)}`: {command.summary}" in text
    for argument in command.arguments:
        assert f"`{argument.name}`: {argument.help}" in text
    assert "`--json`:" in text, "what --json prints is part of the promise"
    for option in command.options:
        if option not in COMMON:
            value = f" {option.value}" if option.value else ""
            text = section(REFERENCE / "commands.md", f"{name} {option.name}")
            assert f"{option.name}{value}`: {option.help}" in text


def test_common_options():
    for option in COMMON:
        assert option.help in section(REFERENCE / "commands.md", option.name)


def test_no_command_or_option_is_described_that_does_not_exist():
    known = {f"cellway {name}" for name in COMMANDS} | {option.name for option in COMMON}
    known |= {f"{c.name} {o.name}" for c in COMMANDS.values() for o in c.options}
    found = set(headings(REFERENCE / "commands.md")) - {"Commands", "Options of every command"}
    assert found <= known


@pytest.mark.parametrize("role", ROLES)
def test_magic_and_tag(role):
    assert f"%%{role}" in {heading.split()[0] for heading in headings(REFERENCE / "magics.md")}
    assert role in {re.split(r"[: ]", heading)[0] for heading in headings(REFERENCE / "tags.md")}


@pytest.mark.parametrize("option", OPTIONS)
def test_option_of_a_step(option):
    assert f"--{option}" in headings(REFERENCE / "options.md")


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_setting(field):
    text = section(REFERENCE / "settings.md", field.name.replace("_", "-"))
    value = f'"{field.default}"' if isinstance(field.default, str) else str(field.default).lower()
    assert f"`{value}`" in text, "the default is named"


def test_entry_point_groups():
    groups = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("entry-points", {}))
    groups |= {f"cellway.{group}" for group in plugins.GROUPS}
    assert groups <= set(headings(REFERENCE / "settings.md"))


def exceptions() -> list[type[errors.CellwayError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [value for value in found if issubclass(value, errors.CellwayError)]


@pytest.mark.parametrize("error", exceptions(), ids=lambda error: error.__name__)
def test_exception(error):
    assert error.__name__ in headings(REFERENCE / "errors.md")
    row = next(
        line for line in (REFERENCE / "exit-codes.md").read_text("utf-8").splitlines() if f"`{error.__name__}`" in line
    )
    assert row.startswith(f"| {error.exit_code} |")


def diagnostic_codes() -> set[str]:
    """First or second argument of whatever makes a diagnostic, in the sources."""
    found: set[str] = set()
    for path in (ROOT / "extension" / "cellway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            position = {"Diagnostic": 1, "report": 0}.get(str(name))
            if position is not None and len(node.args) > position:
                code = node.args[position]
                parts = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                found |= {p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)}
    return found


CODES = sorted(diagnostic_codes())


def test_the_codes_are_found():
    assert {"undefined", "untagged", "tag", "unreadable", "no-steps"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_diagnostic_code(code):
    assert "**Fix:**" in section(REFERENCE / "errors.md", code)


def examples_of_errors() -> list[tuple[str, str]]:
    text = (REFERENCE / "errors.md").read_text("utf-8").partition("## Exceptions")[0]
    parts = re.findall(r"^### `([\w-]+)`\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    found = [
        (code, block) for code, part in parts for block in re.findall(r"```(?:python|json)\n(.*?)```", part, re.DOTALL)
    ]
    assert len(found) > 15
    return found


@pytest.mark.parametrize(("code", "source"), examples_of_errors(), ids=lambda value: value.partition("\n")[0])
def test_example_of_an_error_gives_that_error(code, source, tmp_path):
    path = tmp_path / ("example.ipynb" if source.startswith("{") else "example.py")
    path.write_text(source, "utf-8")
    assert code in {found.code for found in Project.find(path).check(path).diagnostics}


def test_every_field_of_pipeline_yaml(tmp_path):
    path = tmp_path / "all.py"
    path.write_text(_ALL_FIELDS, "utf-8")
    folder = Project.find(path).convert(path, tmp_path / "out")
    said = yaml.safe_load((folder / "pipeline.yaml").read_text("utf-8"))
    described = (REFERENCE / "pipeline-yaml.md").read_text("utf-8")
    entries = [said, *said["parameters"], *said["steps"], *said["tests"]]
    names = {name for entry in entries for name in entry} | {name for step in said["steps"] for name in step["options"]}
    assert len(names) > 20
    assert {name for name in names if f"`{name}`" not in described} == set()


_ALL_FIELDS = """\
# %%
%%parameters
n: int = 3  # how many

# %%
%%setup
import math

# %%
%%step load --retries 2 --timeout 5m --kind cpu --seed 4 --cache-version a --metrics m
m = n

# %%
%%step report --after load --no-cache
print(m)

# %%
%%test load
assert m
"""


# --- links ------------------------------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page):
    text = "\n".join(lines_outside_code(page.read_text("utf-8")))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name}: {target}"


def test_every_page_of_the_docs_can_be_reached_from_the_index():
    index = DOCS / "index.md"
    linked = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text("utf-8"))
    }
    assert {page for page in DOCS.rglob("*.md") if page != index} - linked == set()


# --- examples ---------------------------------------------------------------------------------------------------
#
# In a page, `<!-- notebook: NAME -->` stands above the text of a notebook (percent format), and
# `<!-- edit: NAME: OLD -> NEW -->` changes one. The lines `$ …` of a ```console block are typed in a folder of the
# page's own; what is shown below a line is what it prints. `...` stands for anything.

_BLOCK = re.compile(
    r"(?:<!-- (?P<what>notebook|edit): (?P<name>[\w.]+)(?:: (?P<old>.*?) -> (?P<new>.*?))? -->\n)?"
    r"(?:```(?P<language>python|console)\n(?P<body>.*?)```)?",
    re.DOTALL,
)
_VARYING = (
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}"), "RUN"),
    (re.compile(r"(?<![\w.])\d+(?:\.\d+)? (?:ms|s|min|h)(?: \d+ (?:s|min))?(?![\w/])"), "TIME"),
    (re.compile(r" +"), " "),
)


def pages_with_examples() -> list[Path]:
    return [page for page in PAGES if re.search(r"^```console$", page.read_text("utf-8"), re.MULTILINE)]


def normalised(text: str) -> list[str]:
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def same(shown: list[str], printed: list[str]) -> bool:
    """Whether lines are as shown; `...` alone stands for any lines, within a line for any text."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(same(shown[1:], printed[i:]) for i in range(len(printed) + 1))
    if not printed:
        return False
    pattern = re.sub(r"([\[\]*?])", r"[\1]", shown[0]).replace("...", "*")
    return fnmatchcase(printed[0], pattern) and same(shown[1:], printed[1:])


def type_in(line: str, folder: Path) -> str:
    words_ = shlex.split(line)
    assert words_[0] == "cellway", line
    program = [sys.executable, "-c", "import sys; from cellway.cli import main; sys.exit(main())"]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None)
    done = subprocess.run(
        [*program, *words_[1:]],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", pages_with_examples(), ids=lambda page: page.name)
def test_examples_print_what_is_shown(page, tmp_path):
    for block in _BLOCK.finditer(page.read_text("utf-8")):
        path = tmp_path / (block["name"] or "none")
        if block["what"] == "notebook":
            if path.suffix == ".ipynb":
                jupytext.write(jupytext.reads(block["body"], fmt="py:percent"), path)
            else:
                path.write_text(block["body"], "utf-8")
        elif block["what"] == "edit":
            text = path.read_text("utf-8")
            assert block["old"] in text
            path.write_text(text.replace(block["old"], block["new"]), "utf-8")
        if block["language"] == "console":
            for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
                line, _, shown = part.partition("\n")
                printed = type_in(line, tmp_path)
                assert same(normalised(shown), normalised(printed)), f"$ {line}\n{printed}"
