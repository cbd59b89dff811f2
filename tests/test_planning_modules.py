"""Modules of the project that a step reaches: an edit anywhere in them makes it run again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
from planning_world import World, code, pipeline, step

from cellway import planning
from cellway.records import Pipeline


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def importing(source: str, *modules: str) -> Pipeline:
    """A step with these imports; without modules, the analysis is taken to have found nothing."""
    return pipeline(step("a", cells=(code(source, modules=modules),)))


def modules(world: World, pipe: Pipeline) -> set[str]:
    key = planning.key(pipe.steps[0], world.context(pipe), {})
    return {part.removeprefix("modules/") for part in key.parts if part.startswith("modules/")}


def environment(world: World, pipe: Pipeline) -> set[str]:
    key = planning.key(pipe.steps[0], world.context(pipe), {})
    return {part.removeprefix("environment/") for part in key.parts if part.startswith("environment/")} - {"python"}


P = {"p/__init__.py": "", "p/a.py": "", "p/b.py": ""}


@pytest.mark.parametrize(
    ("files", "source", "found", "expected"),
    [
        ({"h.py": ""}, "import h", "h", "h"),
        ({"h.py": "import g", "g.py": "import k", "k.py": "import h"}, "import h", "h", "h g k"),
        (P, "import p.a as x", "p.a", "p p.a"),
        (P, "from p import a", "p", "p p.a"),
        (P, "from p import (\n    a,  # one\n    b as c,\n)", "p", "p p.a p.b"),
        ({"p/__init__.py": "", "p/a.py": "x = 1"}, "from p.a import x", "p.a", "p p.a"),
        (P | {"p/__init__.py": "from . import a", "p/a.py": "from .b import x"}, "import p", "p", "p p.a p.b"),
        (P | {"p/q/__init__.py": "", "p/q/a.py": "from ..b import x"}, "import p.q.a", "p.q.a", "p p.q p.q.a p.b"),
        ({"p/__init__.py": "", "p/a.py": "from .. import x"}, "import p.a", "p.a", "p p.a"),
        ({"p/__init__.py": "from .a import *", "p/a.py": ""}, "from p import *", "p", "p p.a"),
        ({"n/a.py": "", "n/b.py": "from n import a"}, "import n.b", "n.b", "n.a n.b"),
        ({"h.py": "def f():\n    import g", "g.py": ""}, "import h", "h", "h g"),
        ({"h.py": "import importlib\nimportlib.import_module('g')", "g.py": "", "k.py": ""}, "import h", "h", "h g"),
        ({"h.py": "__import__(name)", "g.py": "", "p/a.py": ""}, "import h", "h", "h g p.a"),
        ({"h.py": "exec(text)", "g.py": ""}, "import h", "h", "h g"),
        ({"h.py": "df.eval('a + b')", "g.py": ""}, "import h", "h", "h"),
        ({"h.py": "", "g.py": ""}, "import importlib; importlib.import_module('h')", "importlib", "h"),
        ({"h.py": "", "g.py": ""}, "import importlib; importlib.import_module(name)", "importlib", "h g"),
        ({"h.py": "", ".venv/pyvenv.cfg": "", "env/pyvenv.cfg": "", "env/x.py": ""}, "exec(x)", "", "h"),
        ({"h.py": "this is no Python"}, "import h", "h", "h"),
        ({"h.py": "import pandas"}, "import h", "h", "h"),
        ({"h.py": "", "p/h.py": ""}, "%time import h", "h", "h"),
        ({"lib/h.py": "import g", "lib/g.py": ""}, "import sys; sys.path.insert(0, 'lib')\nimport h", "sys h", "h g"),
        ({"deep/down/h.py": ""}, "add_to_path()\nimport h", "h", "h"),
        ({"h.py": ""}, "import json", "json", ""),
    ],
)  # fmt: skip
def test_the_modules_that_are_reached(
    world: World, files: dict[str, str], source: str, found: str, expected: str
) -> None:
    write(world.root, files)
    assert modules(world, importing(source, *found.split())) == set(expected.split())


def test_modules_next_to_the_notebook_and_at_the_projects_root(world: World) -> None:
    write(world.root, {"top.py": "", "nb/near.py": "", "nb/far/x.py": ""})
    pipe = importing("import top, near", "top", "near")
    pipe = Pipeline("nb", "nb/nb.ipynb", None, "python", pipe.steps)
    assert modules(world, pipe) == {"top", "near"}


def test_modules_of_modules_bring_their_distributions(world: World) -> None:
    write(world.root, {"h.py": "import g", "g.py": "import papermill"})
    found = environment(world, importing("import h", "h"))
    assert {"papermill", "nbclient", "nbformat"} <= found  # what papermill requires
    assert environment(world, importing("import json", "json")) == set()


def test_a_module_that_is_nowhere_is_unknown(world: World) -> None:
    pipe = importing("import nowhere_to_be_found", "nowhere_to_be_found")
    key = planning.key(pipe.steps[0], world.context(pipe), {})
    assert key.parts["environment/nowhere_to_be_found"] == "unknown"


def test_a_folder_of_an_installed_packages_name_hides_nothing(world: World) -> None:
    write(world.root, {"papermill/notes.py": ""})
    assert "papermill" in environment(world, importing("import papermill", "papermill"))


def test_an_edit_of_a_module_of_a_module_in_the_same_second(world: World) -> None:
    write(world.root, {"h.py": "import g\n", "g.py": "x = 1\n"})
    pipe = importing("import h", "h")
    world.run(pipe)
    assert world.statuses(pipe) == "c"
    path = world.root / "g.py"
    stat = path.stat()
    path.write_text("x = 2\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    plan = world.plan(pipe)
    assert plan.steps[0].reason == "module g changed"
    assert plan.steps[0].changes[0].diff.splitlines()[-2:] == ["-x = 1", "+x = 2"]
    path.write_text("# a comment\nx = (1)\n")
    assert world.statuses(pipe) == "c"
    path.unlink()
    assert world.statuses(pipe) == "p"


def test_a_module_that_comes_to_hide_another(world: World) -> None:
    write(world.root, {"p/__init__.py": "", "nb/x.py": ""})
    pipe = Pipeline("nb", "nb/nb.ipynb", None, "python", importing("import p", "p").steps)
    world.run(pipe)
    write(world.root, {"nb/p.py": "x = 2"})
    assert world.statuses(pipe) == "p"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_a_compiled_module_counts_by_its_content(world: World) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    pipe = importing("import fast", "fast")
    for text in ("int a = 1;", "int a = 2;"):
        (world.root / "fast.c").write_text(text)
        target = world.root / f"fast{suffix}"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(target), str(world.root / "fast.c")], check=True)
        assert modules(world, pipe) == {"fast"}
        assert world.statuses(pipe) == "p"
        world.run(pipe)
        assert world.statuses(pipe) == "c"


def test_python_agrees_about_what_is_imported(world: World) -> None:
    """The oracle: what Python really loads from the project is what was found, at least."""
    write(
        world.root,
        {
            "h.py": "from p import a as b\nimport n.deep.x\nfrom p.q import *\n",
            "p/__init__.py": "import importlib\nimportlib.import_module('.late', __name__)\n",
            "p/late.py": "",
            "p/a.py": "from . import c\nfrom .q import k\n",
            "p/c.py": "from g import x\n",
            "p/q/__init__.py": "__all__ = ['z']\n",
            "p/q/k.py": "",
            "p/q/z.py": "",
            "n/deep/x.py": "import json\n",
            "g.py": "x = 1\n",
            "unused.py": "",
        },
    )
    script = """
        import sys, h
        files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
        print(*(name for name, file in files.items() if file.startswith(sys.argv[1])))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(world.root)],
        cwd=world.root,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "p.late" in loaded
    found = modules(world, importing("import h", "h"))
    assert loaded <= found
    assert "unused" not in found
