"""What is shipped: both packages, the front end once, and nothing that every run would pay for without need."""

import configparser
import email
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = json.loads((ROOT / "labui" / "package.json").read_text())["version"]
PACKAGES = {"cellway": ROOT / "extension" / "cellway", "cellway_magics": ROOT / "kernel_magics" / "cellway_magics"}


def python_files() -> Iterator[str]:
    for name, folder in PACKAGES.items():
        for file in folder.rglob("*"):
            if file.suffix == ".py" or file.name == "py.typed":
                yield str(PurePosixPath(name, *file.relative_to(folder).parts))


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built once for the tests below (they share one worker: `--dist loadfile`)."""
    out = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stdout[-2000:] + build.stderr[-2000:]
    [wheel] = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel_file) as archive:
        yield archive


def read(wheel: zipfile.ZipFile, ending: str) -> str:
    [name] = [name for name in wheel.namelist() if name.endswith(ending)]
    return wheel.read(name).decode()


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestWheel:
    def test_has_every_python_file_of_both_packages(self, wheel: zipfile.ZipFile) -> None:
        assert set(python_files()) - set(wheel.namelist()) == set()

    def test_has_the_front_end_once(self, wheel: zipfile.ZipFile) -> None:
        folder = f"cellway-{VERSION}.data/data/share/jupyter/labextensions/cellway/"
        bundle = [name for name in wheel.namelist() if name.startswith(folder)]
        assert f"{folder}install.json" in bundle
        assert f"{folder}static/style.js" in bundle
        described = json.loads(read(wheel, "/package.json"))
        assert described["version"] == VERSION
        assert f"{folder}{described['jupyterlab']['_build']['load']}" in bundle
        assert sum("remoteEntry" in name for name in wheel.namelist()) == 1
        assert not [name for name in wheel.namelist() if name.startswith("cellway/labextension/")]

    def test_has_nothing_else(self, wheel: zipfile.ZipFile) -> None:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
        assert tops == {"cellway", "cellway_magics", f"cellway-{VERSION}.dist-info", f"cellway-{VERSION}.data"}
        assert not [name for name in wheel.namelist() if re.search(r"node_modules|__pycache__|\.spec\.|/tests?/", name)]

    def test_has_license_and_entry_points(self, wheel: zipfile.ZipFile) -> None:
        assert "cellway developers" in read(wheel, ".dist-info/licenses/LICENSE")
        groups = configparser.ConfigParser(delimiters="=")
        groups.read_string(read(wheel, ".dist-info/entry_points.txt"))
        assert groups["console_scripts"]["cellway"] == "cellway.cli:main"
        assert groups["papermill.engine"]["cellway"] == "cellway.kernels:Engine"
        assert groups["cellway.backends"]["local"] == "cellway.backends.local:LocalBackend"
        assert groups["cellway.stores"]["local"] == "cellway.stores.local:open_store"

    def test_needs_only_what_every_run_needs(self, wheel: zipfile.ZipFile) -> None:
        metadata = email.message_from_string(read(wheel, ".dist-info/METADATA"))
        assert metadata["Version"] == VERSION
        assert metadata["Requires-Python"] == ">=3.11"
        core = {
            re.split(r"[<>=!~ ;\[]", line)[0]
            for line in metadata.get_all("Requires-Dist", [])
            if "extra ==" not in line
        }
        assert core == {
            "blake3",
            "cloudpickle",
            "ipykernel",
            "nbclient",
            "nbformat",
            "papermill",
            "pyarrow",
            "pyyaml",
            "rich",
        }

    def test_installs_and_imports_from_the_wheel(self, wheel_file: Path, tmp_path: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(tmp_path), str(wheel_file)], check=True, stdin=subprocess.DEVNULL)
        found = subprocess.run(
            [sys.executable, "-c", "import cellway; print(cellway.__version__, cellway.__file__)"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert found == [VERSION, str(tmp_path / "cellway" / "__init__.py")]
        assert (tmp_path / "share" / "jupyter" / "labextensions" / "cellway" / "package.json").is_file()


def entry_points() -> list[importlib.metadata.EntryPoint]:
    project = PYPROJECT["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    return [
        importlib.metadata.EntryPoint(name, value, group)
        for group, entries in groups.items()
        for name, value in entries.items()
    ]


@pytest.mark.parametrize("entry_point", entry_points(), ids=lambda point: f"{point.group}:{point.name}")
def test_every_entry_point_leads_somewhere(entry_point: importlib.metadata.EntryPoint) -> None:
    assert callable(entry_point.load())


def import_contract() -> list[list[str]]:
    [contract] = PYPROJECT["tool"]["importlinter"]["contracts"]
    return [re.findall(r"[\w.]+", layer) for layer in contract["layers"]]


def test_every_module_has_its_place_in_the_import_contract() -> None:
    modules = {
        f"cellway.{file.stem if file.is_file() else file.name}"
        for file in PACKAGES["cellway"].iterdir()
        if (file.suffix == ".py" and not file.name.startswith("_")) or (file / "__init__.py").is_file()
    }
    assert modules - {name for layer in import_contract() for name in layer} == set()


def test_import_contract_is_the_one_that_contributors_read() -> None:
    [diagram] = re.findall(r"```\n(cellway_magics\n.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    shown = [line.split(" · ") for line in diagram.splitlines()]
    assert shown == [[name.removeprefix("cellway.") for name in layer] for layer in import_contract()]


@pytest.mark.parametrize("first", ["papermill", "cellway.kernels.engine"])
def test_engine_can_be_imported_before_and_after_papermill(first: str) -> None:
    """papermill loads every engine while it is itself being imported: whoever comes first meets the other half done."""
    program = f"import {first}; from papermill.engines import papermill_engines as e; e.get_engine('cellway')"
    found = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", ["pyproject.toml", "Makefile", ".ci/run", "labui/.npmrc", "labui/package-lock.json"])
def test_no_registry_is_written_down(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"registry[=.]|pypi\.org|npmjs|index-url|\"resolved\"", text)
