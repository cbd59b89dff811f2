"""Installed distributions, as the interpreter that runs the steps has them."""

from __future__ import annotations

import json
import sys
import venv
from pathlib import Path

import pytest
from planning_world import World, code, pipeline, step

from cellway import planning
from cellway.errors import UsageError
from cellway.planning import environment
from cellway.records import Pipeline


def install(site: Path, name: str, version: str, *, requires: str = "", module: str | None = None) -> None:
    """What pip leaves behind of a package with one module."""
    module = module or name
    for old in site.glob(f"{name}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    (site / f"{module}.py").write_text(f"__version__ = {version!r}\n")
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    required = "".join(f"Requires-Dist: {line}\n" for line in requires.splitlines())
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
    (info / "RECORD").write_text(f"{module}.py,,\n{name}-{version}.dist-info/METADATA,,\n")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


@pytest.fixture
def site(python: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = Path(environment._ask(str(executable(python)))["sites"][0])
    for path in folder.iterdir():
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()
    return folder


def executable(python: Path) -> Path:
    return python / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, tmp_path / "home")


def importing(module: str) -> Pipeline:
    return pipeline(step("a", cells=(code(f"import {module}", modules=(module,)),)))


def versions(world: World, python: Path, module: str) -> dict[str, str]:
    pipe = importing(module)
    key = planning.key(pipe.steps[0], world.context(pipe, interpreter=str(executable(python))), {})
    return {part.removeprefix("environment/"): value for part, value in key.parts.items() if part.startswith("env")}


def test_distributions_are_reached_through_what_they_require(world: World, python: Path, site: Path) -> None:
    install(site, "alpha", "1.0", requires="Beta_x>=1 ; python_version > '3'\ngamma[fast] (<9)\nextra; extra == 'e'")
    install(site, "beta_x", "2.0", requires="delta")
    for name in ("gamma", "delta", "extra", "other"):
        install(site, name, "0.1")
    found = versions(world, python, "alpha")
    minor = "{}.{}".format(*sys.version_info[:2])
    assert found == {
        "alpha": "1.0",
        "beta_x": "2.0",
        "gamma": "0.1",
        "delta": "0.1",
        "python": f"cpython {minor}",
    }


def test_an_upgrade_makes_the_step_run_again(world: World, python: Path, site: Path) -> None:
    install(site, "alpha", "1.0", requires="beta")
    install(site, "beta", "1.0")
    pipe, given = importing("alpha"), {"interpreter": str(executable(python))}
    world.run(pipe, **given)
    assert world.statuses(pipe, **given) == "c"
    install(site, "unrelated", "3")
    assert world.statuses(pipe, **given) == "c"
    install(site, "beta", "1.1")
    assert world.reason(pipe, "a", **given) == "beta 1.0 → 1.1"
    install(site, "beta", "1.0")
    assert world.statuses(pipe, **given) == "c"


def test_a_distribution_that_was_only_seen_while_it_ran(world: World, python: Path, site: Path) -> None:
    install(site, "alpha", "1.0")
    install(site, "optional_engine", "4.0")
    pipe, given = importing("alpha"), {"interpreter": str(executable(python))}
    world.run(pipe, environment={"alpha": "1.0", "optional-engine": "4.0", "python": "3.11.7"}, **given)
    assert world.statuses(pipe, **given) == "c"
    install(site, "optional_engine", "5.0")
    assert world.reason(pipe, "a", **given) == "optional-engine 4.0 → 5.0"
    for file in (site / "optional_engine-5.0.dist-info").iterdir():
        file.unlink()
    (site / "optional_engine-5.0.dist-info").rmdir()
    assert world.reason(pipe, "a", **given) == "package optional-engine is gone"


def test_a_module_name_may_differ_from_its_distribution(world: World, python: Path, site: Path) -> None:
    install(site, "scikit_alpha", "1.3", module="skalpha")
    assert versions(world, python, "skalpha")["scikit_alpha"] == "1.3"


def test_a_loose_module_among_installed_packages_counts_by_its_text(world: World, python: Path, site: Path) -> None:
    (site / "loose.py").write_text("x = 1\n")
    pipe, given = importing("loose"), {"interpreter": str(executable(python))}
    world.run(pipe, **given)
    assert world.statuses(pipe, **given) == "c"
    (site / "loose.py").write_text("x = 2\n")
    assert world.reason(pipe, "a", **given) == "module loose changed"


@pytest.mark.parametrize("way", ["path", "finder", "variable"])
def test_editable_installs_count_by_their_text(
    world: World,
    python: Path,
    site: Path,
    way: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path_factory.mktemp("source")
    (source / "editme").mkdir()
    (source / "editme" / "__init__.py").write_text("x = 1\n")
    info = site / "editme-0.1.dist-info"
    if way == "variable":
        monkeypatch.setenv("PYTHONPATH", str(source))
    else:
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: editme\nVersion: 0.1\n")
        hook = "__editable___editme_0_1_finder.py"
        (info / "RECORD").write_text(f"{hook},,\n__editable__.editme.pth,,\n")
        if way == "path":
            (site / "__editable__.editme.pth").write_text(f"{source}\n")
        else:
            mapping = {"editme": str(source / "editme")}
            (site / hook).write_text(f"MAPPING: dict[str, str] = {mapping!r}\n")
    pipe, given = importing("editme"), {"interpreter": str(executable(python))}
    world.run(pipe, **given)
    assert world.statuses(pipe, **given) == "c"
    (source / "editme" / "__init__.py").write_text("x = 2\n")
    assert world.reason(pipe, "a", **given) == "module editme changed"


def test_the_interpreter_is_asked_only_when_something_was_installed(
    python: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = environment._ask

    def listen(path: str) -> object:
        asked.append(path)
        return ask(path)

    monkeypatch.setattr(environment, "_ask", listen)
    monkeypatch.setattr(environment, "_modified", lambda path: 0)  # do not wait until the folder has settled
    install(site, "alpha", "1.0")
    for _ in range(3):
        assert environment.load(str(executable(python)), str(tmp_path)).version("alpha") == "1.0"
    assert len(asked) == 1
    install(site, "alpha", "2.0")
    assert environment.load(str(executable(python)), str(tmp_path)).version("alpha") == "2.0"
    assert len(asked) == 2
    (kept,) = tmp_path.glob("environment-*.json")
    kept.write_text(kept.read_text()[:50])  # half a file
    assert environment.load(str(executable(python)), str(tmp_path)).version("alpha") == "2.0"
    assert len(asked) == 3


def test_while_something_is_being_installed_nothing_is_kept(python: Path, site: Path, tmp_path: Path) -> None:
    install(site, "alpha", "1.0")
    environment.load(str(executable(python)), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def kernelspec(folder: Path, name: str, **spec: object) -> None:
    (folder / "kernels" / name).mkdir(parents=True)
    (folder / "kernels" / name / "kernel.json").write_text(json.dumps(spec))


def test_the_interpreter_of_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    kernelspec(tmp_path, "mine", argv=["/opt/mine/bin/python", "-m", "ipykernel_launcher"], language="python")
    kernelspec(tmp_path, "own", argv=["python", "-m", "ipykernel_launcher"], language="python")
    kernelspec(tmp_path, "r", argv=["R", "--slave"], language="R")
    assert environment.interpreter("mine") == "/opt/mine/bin/python"
    assert environment.interpreter("own") == environment.interpreter(None) == sys.executable
    assert [environment.language(name) for name in ("mine", "r", None, "absent")] == ["python", "r", "python", "python"]
    with pytest.raises(UsageError, match="no kernel named 'absent'"):
        environment.interpreter("absent")


def test_a_kernel_of_another_language_counts_by_its_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    kernelspec(tmp_path, "r", argv=["R"], language="R")
    pipe = pipeline(step("a", options={"kernel": "r"}))
    key = planning.key(pipe.steps[0], world.context(pipe), {})
    assert {part: value for part, value in key.parts.items() if not part.startswith(("code", "options/seed"))} == {
        "environment/kernel": "r",
        "options/kernel": "r",
    }


def test_an_unknown_kernel_of_a_step_names_the_step(world: World) -> None:
    pipe = pipeline(step("a", options={"kernel": "absent"}))
    with pytest.raises(UsageError, match="no kernel named 'absent'") as caught:
        world.plan(pipe)
    assert caught.value.place is not None
    assert caught.value.place.step == "a"


def test_an_interpreter_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot ask") as caught:
        environment.load(str(tmp_path / "python"), str(tmp_path))
    assert "kernelspec" in caught.value.fix
