"""A receipt answers a run only while nothing that decided it moved."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import small_notebooks

from cellway import receipt
from cellway.cli import main
from cellway.project import Project
from cellway.receipt import Receipt

CELLS = [
    "import helpers",
    "%%parameters\nn: int = 3",
    "%%step load\nwith open('data.txt') as stream:\n    numbers = [int(line) + n for line in stream]",
    "%%step total\ntotal = helpers.total(numbers)",
]
DATA = "1\n2\n3\n"


@dataclass
class World:
    folder: Path
    site: Path
    notebook: Path
    project: Project

    def settle(self) -> None:
        """Run until a receipt answers: what moved a moment ago may move again unseen, and is not relied on."""
        for _ in range(20):
            time.sleep(0.06)
            list(Project(self.folder).run(self.notebook))
            if self.answers():
                return
        raise AssertionError("no receipt was kept")

    def answers(self, **asked: object) -> bool:
        return Project(self.folder).answer(self.notebook, asked or None) is not None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("receipts")
    folder, site = base / "project", base / "site"
    folder.mkdir()
    site.mkdir()
    (folder / "helpers.py").write_text("import places\n\n\ndef total(values):\n    return places.START + sum(values)\n")
    (folder / "places.py").write_text("START = 0\n")
    (folder / "data.txt").write_text(DATA)
    notebook = small_notebooks.write(folder / "nb.ipynb", CELLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        made = World(folder, site, notebook, Project(folder))
        made.settle()
        yield made


def _append(name: str, text: str = "\n") -> Callable[[World], None]:
    def edit(world: World) -> None:
        with open(world.folder / name, "a") as stream:
            stream.write(text)

    return edit


def _same_size_and_time(world: World) -> None:
    path = world.folder / "data.txt"
    before = path.stat()
    path.write_text(DATA.replace("3", "4"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _replaced_by_rename(world: World) -> None:
    path, other = world.folder / "data.txt", world.folder.parent / "other.txt"
    shutil.copy2(path, other)
    other.write_text(DATA.replace("3", "5"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    os.replace(other, path)


def _install(world: World) -> None:
    (world.site / "stranger-1.0.dist-info").mkdir()
    (world.site / "stranger-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n"
    )


def _delete_blob(world: World) -> None:
    blobs = [path for path in (world.folder / ".cellway" / "store" / "objects").rglob("*") if path.is_file()]
    os.unlink(max(blobs))


EDITS: dict[str, Callable[[World], None]] = {
    "the notebook": _append("nb.ipynb"),
    "a module": _append("helpers.py"),
    "a module of a module": _append("places.py"),
    "a new module before another": lambda world: (world.folder / "json.py").write_text(""),
    "a new package before a module": lambda world: (world.folder / "places").mkdir(),
    "a data file": _append("data.txt", "4\n"),
    "a data file, of the same size and time": _same_size_and_time,
    "a data file, by rename": _replaced_by_rename,
    "a data file, gone": lambda world: (world.folder / "data.txt").unlink(),
    "settings that were not there": lambda world: (world.folder / "cellway.toml").write_text("seed = 7\n"),
    "settings in pyproject.toml": lambda world: (world.folder / "pyproject.toml").write_text(
        "[tool.cellway]\nseed = 7\n"
    ),
    "an installed package": _install,
    "a stored value": _delete_blob,
    "the record of runs": lambda world: (world.folder / ".cellway" / "ledger.sqlite").unlink(),
}


@pytest.mark.parametrize("what", EDITS)
def test_whatever_moved_there_is_no_answer(world: World, what: str) -> None:
    kept = world.folder.parent / "kept"
    world.settle()
    shutil.copytree(world.folder, kept)
    assert world.answers()
    try:
        EDITS[what](world)
        assert not world.answers()
    finally:
        shutil.rmtree(world.folder)
        kept.rename(world.folder)
        shutil.rmtree(world.site)
        world.site.mkdir()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PYTHONPATH", ""), ("JUPYTER_PATH", "/elsewhere"), ("HOME", "/elsewhere"), ("PYTHONHOME", "/x")],
)
def test_another_environment_is_another_question(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    world.settle()
    monkeypatch.setenv(name, value)
    assert not world.answers()


def test_another_interpreter_is_another_question(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.settle()
    monkeypatch.setattr(sys, "executable", sys.executable + "-other")
    assert not world.answers()


def test_parameters_and_seed_are_part_of_the_question(world: World) -> None:
    world.settle()
    assert not world.answers(n=4)
    assert Project(world.folder).answer(world.notebook, seed=4) is None
    assert world.answers()


def test_a_parameter_of_the_environment_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.settle()
    monkeypatch.setenv("CELLWAY_PARAM_n", "40")
    assert main(["run", str(world.notebook), "--json"]) == 0
    assert '"run-cached"' not in capsys.readouterr().out
    assert Project(world.folder).value("total") == 126
    monkeypatch.delenv("CELLWAY_PARAM_n")
    assert main(["run", str(world.notebook), "--json"]) == 0
    assert Project(world.folder).value("total") == 15


def test_an_answered_run_is_recorded_like_any_other(world: World) -> None:
    world.settle()
    project = Project(world.folder)
    answer = project.answer(world.notebook)
    assert answer is not None
    assert [step for step, _ in answer.steps] == ["load", "total"]
    run = project.run_record(answer.run)
    assert (run.status.value, dict(run.parameters), run.source) == ("completed", {"n": 3}, str(world.notebook))
    assert [(s.step, s.status.value) for s in project.step_runs(answer.run)] == [
        ("load", "cached"),
        ("total", "cached"),
    ]


def test_what_is_edited_while_the_steps_run_is_not_taken_for_what_ran(world: World) -> None:
    project = Project(world.folder)
    before = world.notebook.read_text()
    try:
        for event in project.run(world.notebook, {"n": 77}):
            if event.kind == "step-finished" and event.step_run is not None and event.step_run.step == "load":
                world.notebook.write_text(before.replace("helpers.total(numbers)", "helpers.total(numbers) + 1"))
                time.sleep(0.1)
        assert not world.answers(n=77)
    finally:
        world.notebook.write_text(before)


# --- the file ---------------------------------------------------------------------------------------------------------


def _write(tmp_path: Path, asked: str, **more: object) -> bool:
    (tmp_path / "input").write_text("x")
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / "blob").write_text("x")
    said = {"paths": [str(tmp_path / "input"), "/not/there"], "blobs": [str(tmp_path / "ab" / "blob")]}
    found = Receipt("name", '{"n": 1}', [("load", "run.1", 0.25)])
    return receipt.write(str(tmp_path / "receipts"), asked, found, **{**said, "started": time.time() + 9, **more})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    asked = receipt.question(source="a\tb\nc\ud800")
    assert asked is not None
    assert _write(tmp_path, asked)
    found = receipt.read(str(tmp_path / "receipts"), asked)
    assert found is not None
    assert (found.pipeline, found.parameters, found.steps) == ("name", '{"n": 1}', [("load", "run.1", 0.25)])
    assert receipt.read(str(tmp_path / "receipts"), asked + " ") is None


def test_every_cut_or_damaged_receipt_is_none(tmp_path: Path) -> None:
    asked = receipt.question(source="a") or ""
    assert _write(tmp_path, asked)
    (path,) = (tmp_path / "receipts").iterdir()
    text = path.read_text()
    for length in range(len(text)):
        path.write_text(text[:length])
        assert receipt.read(str(tmp_path / "receipts"), asked) is None
    for damaged in ("\0" * len(text), text.replace("step\t", "step "), text.replace("0.25", "a quarter")):
        path.write_text(damaged)
        assert receipt.read(str(tmp_path / "receipts"), asked) is None


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"started": 0.0}, id="an input moved after the run had begun to look"),
        pytest.param({"paths": ["/with\ttab"]}, id="a path with a tab"),
        pytest.param({"blobs": ["/not/there"]}, id="a blob that is not there"),
    ],
)
def test_in_doubt_none_is_kept(tmp_path: Path, more: dict[str, object]) -> None:
    assert not _write(tmp_path, "asked", **more)
    assert receipt.read(str(tmp_path / "receipts"), "asked") is None


def test_a_full_disk_costs_only_the_receipt(tmp_path: Path) -> None:
    (tmp_path / "receipts").write_text("a file where the folder should be")
    assert not _write(tmp_path, "asked")


def test_questions_differ_whenever_values_or_their_types_do() -> None:
    values = [
        None,
        True,
        1,
        1.0,
        "1",
        [1],
        ["1"],
        [[1]],
        {"1": 1},
        {1: 1},
        "[1]",
        "None",
        [],
        {},
        "",
        0,
        False,
        "a', 'b",
    ]
    texts = [receipt.question(value=value) for value in values]
    assert None not in texts
    assert len(set(texts)) == len(values)
    assert receipt.question(a=1, b={"x": 1, "y": 2}) == receipt.question(b={"y": 2, "x": 1}, a=1)


def test_what_has_no_exact_text_has_no_question() -> None:
    endless: list[object] = []
    endless.append(endless)
    for value in (object(), Path("x"), {1, 2}, b"x", endless, 10**5000):
        assert receipt.question(value=value) is None
