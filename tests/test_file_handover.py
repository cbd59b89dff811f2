"""Steps that hand over through files: run as a whole, in real kernels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from small_notebooks import write

from cellway.planning import Selection
from cellway.project import Project
from cellway.records import Event, Status


@dataclass
class Book:
    """A notebook in a project of its own; ``hidden`` files are named so that the code of two steps shares no name."""

    folder: Path
    events: list[Event] = field(default_factory=list)

    def run(self, *cells: str, jobs: int = 3, status: Status = Status.COMPLETED, **more: object) -> dict[str, str]:
        """Runs the notebook; what became of each step: ``c``ached, ``r``un, ``f``ailed, ``s``kipped."""
        source = write(self.folder / "book.ipynb", list(cells))
        self.events = list(Project(self.folder).run(source, jobs=jobs, **more))
        assert self.events[-1].run.status is status, [
            (e.step, e.message, e.step_run and e.step_run.error) for e in self.events if e.kind == "step-finished"
        ]
        letters = {"cached": "c", "completed": "r", "failed": "f", "skipped": "s"}
        return {
            e.step: letters[e.step_run.status.value]
            for e in self.events
            if e.kind == "step-finished" and e.step and e.step_run
        }

    def reasons(self) -> dict[str, str]:
        plan = Project(self.folder).plan(self.folder / "book.ipynb")
        return {planned.step: planned.reason for planned in plan.steps}

    def value(self, name: str) -> object:
        project = Project(self.folder)
        produced = project.ledger.artifact(name)
        return json.loads(Path(project.store.path(produced.artifact.digest)).read_bytes())

    def again(self) -> list[str | None]:
        """Steps that were found to have started too early."""
        return [event.step for event in self.events if event.kind == "step-outdated"]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    (tmp_path / "cellway.toml").write_text("")
    return Book(tmp_path)


WRITE = "%%step a\nimport time\ntime.sleep({seconds})\nopen({name}, 'w').write('{text}')"
READ = "%%step b --out got\ngot = open('t.txt').read()"
HIDDEN = "'t' + '.txt'"
"""Says nothing to who reads the code."""


def test_a_file_that_both_steps_name_is_waited_for(book: Book) -> None:
    cells = (WRITE.format(seconds=1, name="'t.txt'", text="new"), READ)
    assert book.run(*cells) == {"a": "r", "b": "r"}
    assert (book.value("got"), book.again()) == ("new", [])
    assert book.run(*cells) == {"a": "c", "b": "c"}


@pytest.mark.parametrize("before", [None, "old"], ids=["missing", "of an earlier run"])
def test_a_file_that_nobody_could_foresee(book: Book, before: str | None) -> None:
    if before is not None:
        (book.folder / "t.txt").write_text(before)
    cells = (WRITE.format(seconds=2, name=HIDDEN, text="new"), READ)
    assert book.run(*cells)["b"] == "r"
    assert (book.value("got"), book.again()) == ("new", ["b"])
    assert book.run(*cells) == {"a": "c", "b": "c"}
    # From now on it is known, also when the writer was edited.
    changed = WRITE.format(seconds=1, name=HIDDEN, text="newer")
    assert book.run(changed, READ) == {"a": "r", "b": "r"}
    assert (book.value("got"), book.again()) == ("newer", [])


def test_a_step_that_really_fails_is_reported_once_the_others_are_through(book: Book) -> None:
    cells = ("%%step a\nimport time\ntime.sleep(1)\nx = 1", "%%step b\nopen('nowhere.txt')")
    assert book.run(*cells, status=Status.FAILED) == {"a": "r", "b": "f"}
    waiting = [event.message for event in book.events if event.kind == "step-waiting"]
    assert len(waiting) == 1
    assert "nowhere.txt" in waiting[0]
    assert "a may still write" in waiting[0]
    assert book.again() == []


def test_a_failure_counts_as_soon_as_it_cannot_be_for_want_of_a_file(book: Book) -> None:
    cells = (WRITE.format(seconds=1, name=HIDDEN, text="x"), "%%step b\nopen('nowhere.txt')")
    assert book.run(*cells, status=Status.FAILED) == {"a": "r", "b": "f"}
    assert book.again() == ["b"]  # tried again once, since a wrote something
    assert book.run("%%step a\n1 / 0", "%%step b\nopen('nowhere.txt')", status=Status.FAILED)["a"] == "f"


def test_two_add_to_a_file_and_a_third_reads_it(book: Book) -> None:
    cells = (
        "%%step a\nimport time\ntime.sleep(1)\nwith open('log.txt', 'a') as file:\n    file.write('a')",
        "%%step b\nwith open('log.txt', 'a') as file:\n    file.write('b')",
        "%%step c --out got\ngot = open('log.txt').read()",
    )
    assert book.run(*cells) == {"a": "r", "b": "r", "c": "r"}
    assert (book.value("got"), book.again()) == ("ab", [])
    assert book.run(*cells) == {"a": "c", "b": "c", "c": "c"}
    assert (book.folder / "log.txt").read_text() == "ab"


def test_two_write_a_file_and_a_third_reads_it_as_nobody_could_foresee(book: Book) -> None:
    late = "%%step b\nopen('t' + '.txt', 'w').write('b')"
    cells = (WRITE.format(seconds=2, name=HIDDEN, text="a"), late, READ.replace("step b", "step c"))
    done = book.run(*cells)
    # c may have looked at what b wrote the first time: then it is judged once more, and reused.
    assert (done["a"], done["b"]) == ("r", "r")
    assert book.value("got") == "b"
    assert "b" in book.again()
    assert book.run(*cells) == {"a": "c", "b": "c", "c": "c"}


def test_a_module_that_a_step_writes(book: Book) -> None:
    def cells(number: int) -> tuple[str, str]:
        writer = f"%%step a\n%%writefile mymod.py\nnumber = {number}"
        return writer, "%%step b --out got\nimport mymod\n\ngot = mymod.number"

    assert book.run(*cells(1)) == {"a": "r", "b": "r"}
    assert book.value("got") == 1
    assert book.run(*cells(1)) == {"a": "c", "b": "c"}
    assert book.run(*cells(2)) == {"a": "r", "b": "r"}
    assert book.value("got") == 2
    (book.folder / "mymod.py").unlink()
    assert book.run(*cells(2)) == {"a": "r", "b": "c"}


def test_a_module_that_nobody_could_foresee(book: Book) -> None:
    writer = "%%step a\nimport time\ntime.sleep(2)\nopen('my' + 'mod.py', 'w').write('number = 1')"
    reader = "%%step b --out got\nimport mymod\n\ngot = mymod.number"
    (book.folder / "mymod.py").write_text("number = 0")
    assert book.run(writer, reader)["b"] == "r"
    assert (book.value("got"), book.again()) == (1, ["b"])
    assert book.run(writer, reader) == {"a": "c", "b": "c"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "file `t.txt`, which this step writes, is gone"),
        (lambda path: path.write_text("other"), "file `t.txt`, which this step writes, was changed"),
    ],
    ids=["deleted", "edited"],
)
def test_a_file_that_is_not_as_its_step_left_it(book: Book, spoil: object, reason: str) -> None:
    cells = (WRITE.format(seconds=0, name="'t.txt'", text="new"), READ)
    book.run(*cells)
    assert book.run(*cells) == {"a": "c", "b": "c"}
    spoil(book.folder / "t.txt")  # type: ignore[operator]
    assert book.reasons() == {
        "a": reason,
        "b": "a runs first; reused if it writes the same file `t.txt`",
    }
    assert book.run(*cells) == {"a": "r", "b": "c"}
    assert (book.folder / "t.txt").read_text() == "new"
    assert book.run(*cells) == {"a": "c", "b": "c"}


def test_the_reader_runs_again_only_if_the_content_differs(book: Book) -> None:
    book.run(WRITE.format(seconds=0, name="'t.txt'", text="new"), READ)
    assert book.run(WRITE.format(seconds=0.5, name="'t.txt'", text="new"), READ) == {"a": "r", "b": "c"}
    assert book.run(WRITE.format(seconds=0.5, name="'t.txt'", text="newer"), READ) == {"a": "r", "b": "r"}
    assert book.value("got") == "newer"


def test_a_file_rewritten_on_the_way(book: Book) -> None:
    (book.folder / "t.txt").write_text("0")
    add = "text = open('t.txt').read()\nopen('t.txt', 'w').write(text + '{}')"
    cells = (
        "%%step first --out seen\nimport time\ntime.sleep(1)\nseen = open('t.txt').read()",
        "%%step a\n" + add.format("a"),
        "%%step b\n" + add.format("b"),
        "%%step c --out got\ngot = open('t.txt').read()",
    )
    assert set(book.run(*cells).values()) == {"r"}
    assert (book.value("seen"), book.value("got")) == ("0", "0ab")
    assert set(book.run(*cells).values()) == {"c"}
    (book.folder / "t.txt").write_text("1")
    assert set(book.run(*cells).values()) == {"r"}
    assert (book.value("seen"), book.value("got")) == ("1", "1ab")


def test_a_new_reader_of_a_file_that_is_gone(book: Book) -> None:
    writer = WRITE.format(seconds=0, name="'t.txt'", text="new")
    book.run(writer, "%%step b --out got\ngot = 1")
    (book.folder / "t.txt").unlink()
    assert book.run(writer, READ) == {"a": "r", "b": "r"}


def test_until_takes_along_who_writes_the_file(book: Book) -> None:
    cells = (WRITE.format(seconds=0, name="'t.txt'", text="new"), READ)
    book.run(*cells)
    (book.folder / "t.txt").unlink()
    assert book.run(*cells, selection=Selection(until=("b",))) == {"a": "r", "b": "c"}


def test_a_log_that_nobody_reads_keeps_nobody_waiting(book: Book) -> None:
    setup = "%%setup\nimport logging\n\nlogging.basicConfig(filename='run.log', level='INFO')"
    cells = (setup, "%%step a\nlogging.info('a')\nx = 1", "%%step b\nlogging.info('b')\ny = 2")
    assert book.run(*cells) == {"a": "r", "b": "r"}
    assert book.again() == []
    (book.folder / "run.log").unlink()
    assert book.run(*cells) == {"a": "c", "b": "c"}
