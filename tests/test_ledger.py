from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from planning_world import artifact, finished, run_record, step_run

from cellway.errors import LedgerError, UsageError
from cellway.ledger import Ledger
from cellway.records import Change, Event, Facts, FileRead, Key, Run, Status, StepRun

TESTS = Path(__file__).parent


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "ledger.sqlite"))


def record(ledger: Ledger, id_: str, *done: StepRun, status: Status | None = Status.COMPLETED, **more: Any) -> Run:
    """A whole run; without a status it does not end."""
    run = run_record(id_, **more)
    ledger.append(Event("run-started", run.started, run))
    for each in done:
        ledger.append(finished(run, each))
    if status is not None:
        from dataclasses import replace

        ledger.append(Event("run-finished", run.started + 9, replace(run, status=status, ended=run.started + 9)))
    return run


def full(run: str = "r1") -> StepRun:
    return StepRun(
        id="s1",
        run=run,
        step="train",
        status=Status.COMPLETED,
        key=Key("k1", {"code/cell 1": "abc", "parameters/lr": "0.1", "inputs/df": "fp"}),
        code="c1",
        reason="parameter lr: 0.2 → 0.1",
        changes=(Change("parameters/lr", "changed", "parameter lr: 0.2 → 0.1", "-a\n+b"),),
        inputs={"df": "fp"},
        providers={"df": "load"},
        artifacts=(
            artifact("model", "m", sidecar={"text": "Model()", "preview": [[1, None], ["ü", 2.5]]}),
            artifact("score", "s", member="score"),
        ),
        files=(FileRead("data/a.csv", "d1"), FileRead("/abs/b", "", True)),
        facts=Facts(("df",), True, ("out/t.txt",), ("data/a.csv", "parts/")),
        attempt=2,
        started=1000.5,
        ended=1003.0,
        notebook="runs/r1/train.ipynb",
        touched=("network",),
        environment={"pandas": "3.0.1"},
        watched=("df", "x"),
        written=(FileRead("out/t.txt", "d2"), FileRead("out/gone.txt", "")),
    )


def test_a_step_run_comes_back_as_it_was(ledger: Ledger) -> None:
    run = record(ledger, "r1", full(), parameters={"lr": 0.1, "names": ["a"]}, options={"jobs": 2})
    assert ledger.step_runs("r1") == (full(),)
    assert ledger.step_run("s1") == full()
    assert ledger.candidates("k1") == (full(),)
    again = ledger.run("r1")
    assert (again.parameters, again.options, again.host, again.pid) == (run.parameters, run.options, run.host, run.pid)
    assert (again.status, again.started, again.ended) == (Status.COMPLETED, 1000.0, 1009.0)


def test_an_error_comes_back_as_it_was(ledger: Ledger) -> None:
    error = {"kind": "CellFailed", "message": "division by zero", "traceback": ["a", "b"], "cell": 3, "line": 1}
    done = step_run("r1", "a", status=Status.FAILED, error=error)
    record(ledger, "r1", done, status=Status.FAILED)
    assert ledger.step_runs("r1") == (done,)


def test_the_cache_is_completed_and_executed_step_runs_newest_first(ledger: Ledger) -> None:
    old = step_run("r1", "a", "k", artifacts=(artifact("x", "1"),), started=1.0, ended=3.5)
    record(ledger, "r1", old, step_run("r1", "b", "k", status=Status.FAILED))
    record(ledger, "r2", step_run("r2", "a", "other"), step_run("r2", "b", "k", status=Status.CANCELLED))
    new = step_run("r3", "a", "k", artifacts=(artifact("x", "2"),))
    record(ledger, "r3", new)
    record(ledger, "r4", step_run("r4", "a", "k", status=Status.CACHED, producer=new.id))
    assert [each.id for each in ledger.candidates("k")] == [new.id, old.id]
    short = ledger.lookup("k")
    assert [each.id for each in short] == [new.id, old.id]
    assert short[1].seconds == 2.5
    assert list(short[1].artifacts) == [("x", artifact("x", "1").fingerprint, artifact("x", "1").digest)]
    assert ledger.candidates("unknown") == ()


def test_a_forgotten_step_run_stays_in_the_record_and_leaves_the_cache(ledger: Ledger) -> None:
    record(ledger, "r1", full())
    ledger.forget("s1", "unknown")
    ledger.forget("s1")
    assert ledger.candidates("k1") == ledger.lookup("k1") == ()
    assert ledger.step_run("s1") == full()
    assert ledger.live_blobs() == {}


def test_a_cached_step_run_shows_what_it_reused(ledger: Ledger) -> None:
    record(ledger, "r1", full())
    cached = StepRun(
        "s2", "r2", "train", Status.CACHED, producer="s1", reason="nothing changed", started=5.0, ended=5.0
    )
    record(ledger, "r2", cached)
    (again,) = ledger.step_runs("r2")
    assert (again.id, again.status, again.producer, again.reason) == ("s2", Status.CACHED, "s1", "nothing changed")
    assert (again.key, again.artifacts, again.files, again.inputs, again.environment) == (
        full().key,
        full().artifacts,
        full().files,
        full().inputs,
        full().environment,
    )
    assert again.changes == ()


def test_reuse_of_an_unknown_step_run_is_refused_and_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="not in the ledger"):
        record(ledger, "r1", step_run("r1", "a", status=Status.CACHED, producer="nobody"))
    run = run_record("r2", status=Status.COMPLETED, ended=1001.0)
    with pytest.raises(UsageError, match="does not have"):
        ledger.append_cached_run(run, [("a", "nobody")])
    assert [run.id for run in ledger.runs()] == ["r1"]
    assert ledger.step_runs("r1") == ()


def test_a_run_in_which_nothing_ran(ledger: Ledger) -> None:
    first = step_run("r1", "a", "ka", artifacts=(artifact("x", "1"),))
    second = step_run("r1", "b", "kb")
    record(ledger, "r1", first, second)
    ledger.append_cached_run(
        run_record("r2", status=Status.COMPLETED, started=2000.0, ended=2001.0), [("a", first.id), ("b", second.id)]
    )
    assert ledger.run("last").id == "r2"
    assert (ledger.run("r2").status, ledger.run("r2").ended) == (Status.COMPLETED, 2001.0)
    a, b = ledger.step_runs("r2")
    assert (a.step, a.status, a.producer, a.artifacts) == ("a", Status.CACHED, first.id, first.artifacts)
    assert (b.step, b.reason, b.key) == ("b", "nothing changed", second.key)
    assert ledger.step_run(a.id) == a
    # A pointer to a pointer is one to the executed step run.
    ledger.append_cached_run(run_record("r3", status=Status.COMPLETED, ended=2002.0), [("a", a.id)])
    assert ledger.step_runs("r3")[0].producer == first.id


@pytest.mark.parametrize(
    ("executions", "expected"),
    [
        ([], None),
        ([("completed", Facts())], Facts()),
        ([("completed", Facts((), False))], Facts((), False)),
        ([("completed", Facts((), False)), ("completed", Facts((), True))], Facts((), True)),
        ([("failed", Facts((), False))], Facts()),
        ([("failed", Facts(("x",), True))], Facts(("x",), True)),
        ([("completed", Facts(("b",))), ("completed", Facts(("a", "b")))], Facts(("a", "b"))),
        ([("cancelled", Facts(("x",), True))], None),
    ],
)
def test_facts_are_what_any_execution_showed(ledger: Ledger, executions: Any, expected: Facts | None) -> None:
    for number, (status, facts) in enumerate(executions):
        done = step_run(f"r{number}", "a", f"k{number}", code="c", facts=facts, status=Status(status))
        record(ledger, f"r{number}", done)
    assert ledger.facts(["c", "other"]) == ({"c": expected} if expected is not None else {})


def test_last_is_what_each_step_showed_last(ledger: Ledger) -> None:
    one, failed = step_run("r1", "a", "k1"), step_run("r1", "b", "k2", status=Status.FAILED)
    record(ledger, "r1", one, failed)
    assert ledger.last("nb.ipynb", ["a", "b", "c"]) == {"a": one, "b": failed}
    two = step_run("r2", "a", "k3")
    record(ledger, "r2", two, step_run("r2", "b", "k9", status=Status.CANCELLED))
    assert ledger.last("nb.ipynb", ["a", "b"]) == {"a": two, "b": failed}
    ledger.append_cached_run(run_record("r3", status=Status.COMPLETED), [("a", one.id)])
    assert ledger.last("nb.ipynb", ["a"]) == {"a": one}
    assert ledger.last("other.ipynb", ["a"]) == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["r4", "r3", "r2", "r1"]),
        ({"limit": 2}, ["r4", "r3"]),
        ({"limit": 2, "offset": 3}, ["r1"]),
        ({"status": "failed"}, ["r2"]),
        ({"status": "completed", "limit": 1, "offset": 1}, ["r1"]),
        ({"pipeline": "other"}, ["r3"]),
        ({"pipeline": "nb.ipynb", "status": "completed"}, ["r1"]),
        ({"status": "running"}, ["r4"]),
        ({"status": "cancelled"}, []),
    ],
)
def test_runs_are_listed_newest_first(ledger: Ledger, arguments: dict[str, Any], expected: list[str]) -> None:
    record(ledger, "r1")
    record(ledger, "r2", status=Status.FAILED)
    record(ledger, "r3", pipeline="other", source="other.ipynb")
    record(ledger, "r4", status=None)
    assert [run.id for run in ledger.runs(**arguments)] == expected


def test_a_run_whose_process_is_gone_was_interrupted_and_can_be_resumed(ledger: Ledger) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = record(ledger, "r1", status=None, pid=process.pid)
        assert ledger.run("r1").status is Status.RUNNING
        process.kill()
    assert (ledger.run("r1").status, ledger.run("r1").ended) == (Status.CANCELLED, None)
    assert [run.id for run in ledger.runs(status="cancelled")] == ["r1"]
    from dataclasses import replace

    resumed = replace(run, pid=os.getpid())
    ledger.append(Event("run-started", 3000.0, resumed))
    assert ledger.run("r1").status is Status.RUNNING
    ledger.append(Event("run-finished", 3001.0, replace(resumed, status=Status.COMPLETED)))
    assert (ledger.run("r1").status, ledger.run("r1").ended) == (Status.COMPLETED, 3001.0)
    assert len(ledger.runs()) == 1


def test_a_process_id_that_was_used_again_is_another_process(ledger: Ledger) -> None:
    record(ledger, "r1", status=None)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("UPDATE run_states SET born = 'boot.1'")
    assert ledger.run("r1").status is (Status.CANCELLED if sys.platform == "linux" else Status.RUNNING)


def test_a_run_on_another_machine_counts_as_alive(ledger: Ledger) -> None:
    record(ledger, "r1", status=None, host="elsewhere", pid=1)
    assert ledger.run("r1").status is Status.RUNNING


def test_a_run_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    for id_ in ("abc1", "abc", "xyz"):
        record(ledger, id_)
    assert ledger.run("x").id == "xyz"
    assert ledger.run("abc").id == "abc"
    assert ledger.run("last").id == "xyz"
    with pytest.raises(UsageError, match="several runs: abc, abc1"):
        ledger.run("ab")
    with pytest.raises(UsageError, match="no run 'nope'"):
        ledger.run("nope")
    with pytest.raises(UsageError, match="no step run"):
        ledger.step_run("nope")


def shelf(ledger: Ledger) -> dict[str, StepRun]:
    load = step_run("r1", "load", "k1", artifacts=(artifact("df", "raw"),), ended=1.0)
    clean = step_run("r1", "clean", "k2", artifacts=(artifact("df", "clean"), artifact("n", "12")), ended=2.0)
    record(ledger, "r1", load, clean)
    again = step_run("r2", "clean", "k3", artifacts=(artifact("df", "cleaner"), artifact("n", "12")), ended=3.0)
    record(ledger, "r2", step_run("r2", "load", status=Status.CACHED, producer=load.id), again)
    record(ledger, "r3", step_run("r3", "clean", "k4", status=Status.FAILED))
    return {"load": load, "clean": clean, "again": again}


@pytest.mark.parametrize(
    ("ref", "content", "run"),
    [
        ("n", "12", "r2"),
        ("clean.df", "cleaner", "r2"),
        ("load.df", "raw", "r1"),
        ("r1:clean.df", "clean", "r1"),
        ("r1:n", "12", "r1"),
        ("r2:load.df", "raw", "r2"),
        ("last:clean.df", None, None),
        (artifact("df", "clean").fingerprint[:12], "clean", "r1"),
        (artifact("df", "cleaner").fingerprint, "cleaner", "r2"),
    ],
)
def test_an_artifact_is_found_by_what_people_call_it(
    ledger: Ledger, ref: str, content: str | None, run: str | None
) -> None:
    shelf(ledger)
    if content is None:
        with pytest.raises(UsageError, match="no artifact"):
            ledger.artifact(ref)
    else:
        found = ledger.artifact(ref)
        assert (found.artifact.digest, found.run) == (artifact("", content).digest, run)


def test_where_nothing_was_run_the_last_run_is_not_just_unknown(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="nothing was run yet in ") as caught:
        ledger.run("last")
    assert "cellway run NOTEBOOK" in caught.value.fix
    ledger.forget()
    assert not Path(ledger.path).exists()  # looking, and deleting nothing, leave nothing behind


def test_an_ambiguous_artifact_lists_the_choices(ledger: Ledger) -> None:
    shelf(ledger)
    with pytest.raises(UsageError, match=r"'df' could be several artifacts: clean\.df, load\.df"):
        ledger.artifact("df")
    with pytest.raises(UsageError, match="no artifact 'nope'"):
        ledger.artifact("nope")
    record(ledger, "r9", step_run("r9", "clean", "k8", artifacts=(artifact("n", "7"),)), source="b.ipynb", pipeline="b")
    with pytest.raises(UsageError, match=r"several artifacts: r9:clean\.n, r2:clean\.n"):
        ledger.artifact("n")


def test_a_notebook_and_its_converted_folder_are_not_two_choices(ledger: Ledger) -> None:
    old = step_run("r1", "load", "k1", artifacts=(artifact("df", "old"),))
    record(ledger, "r1", old)
    record(ledger, "r2", step_run("r2", "load", "k2", artifacts=(artifact("df", "new"),)))
    folder = run_record("r3", status=Status.COMPLETED, ended=50.0, source="/folder")
    ledger.append_cached_run(folder, [("load", old.id)])
    assert ledger.artifact("load.df").artifact.digest == artifact("", "new").digest
    assert ledger.artifact("r3:load.df").artifact.digest == artifact("", "old").digest


def test_artifacts_are_listed(ledger: Ledger) -> None:
    runs = shelf(ledger)
    everything = [(item.step, item.artifact.name, item.run) for item in ledger.artifacts()]
    assert everything == [
        ("clean", "df", "r2"),
        ("clean", "n", "r2"),
        ("clean", "df", "r1"),
        ("clean", "n", "r1"),
        ("load", "df", "r1"),
    ]
    assert [item.step_run for item in ledger.artifacts(run="r2", name="df")] == [runs["again"].id, runs["load"].id]
    assert [item.run for item in ledger.artifacts(step="load")] == ["r1"]
    assert len(ledger.artifacts(limit=2)) == 2


def test_live_blobs_with_their_last_use(ledger: Ledger) -> None:
    runs = shelf(ledger)
    live = ledger.live_blobs()
    assert live == {
        artifact("", content).digest: use
        for content, use in {"raw": 1.0, "clean": 2.0, "12": 3.0, "cleaner": 3.0}.items()
    }
    ledger.append_cached_run(run_record("r4", status=Status.COMPLETED, ended=50.0), [("load", runs["load"].id)])
    assert ledger.live_blobs()[artifact("", "raw").digest] == 50.0
    ledger.forget(runs["clean"].id)
    assert set(ledger.live_blobs()) == {artifact("", content).digest for content in ("raw", "12", "cleaner")}


def test_edges_lead_to_the_executed_step_run_that_made_the_value(ledger: Ledger) -> None:
    load = step_run("r1", "load", "k1", artifacts=(artifact("df", "raw"),))
    fingerprint = load.artifacts[0].fingerprint
    record(ledger, "r1", load)
    cached = step_run("r2", "load", status=Status.CACHED, producer=load.id)
    train = step_run("r2", "train", "k2", inputs={"df": fingerprint}, providers={"df": "load"})
    record(ledger, "r2", cached, train)
    only = step_run("r3", "train", "k3", inputs={"df": fingerprint, "y": "unknown"}, providers={"df": "load"})
    record(ledger, "r3", only)
    with sqlite3.connect(ledger.path) as connection:
        rows = connection.execute(
            "SELECT c.id, e.name, p.id FROM edges AS e JOIN step_runs AS c ON c.number = e.step_run "
            "LEFT JOIN step_runs AS p ON p.number = e.producer"
        ).fetchall()
    assert sorted(rows, key=str) == sorted(
        [(train.id, "df", load.id), (only.id, "df", load.id), (only.id, "y", None)], key=str
    )


def test_texts_analyses_and_stats_are_kept(ledger: Ledger) -> None:
    ledger.put_sources({"f1": "x = 1", "f2": "ü\n"})
    ledger.put_sources({"f1": "x = 1"})
    assert (ledger.source("f1"), ledger.source("f2"), ledger.source("f3")) == ("x = 1", "ü\n", None)
    ledger.put_many({"d1": b"\x00\x01", "d2": b""})
    ledger.put_many({"d2": b"new"})
    ledger.put_many({})
    assert ledger.get_many(["d1", "d2", "d3"]) == {"d1": b"\x00\x01", "d2": b"new"}
    assert len(ledger.get_many([f"d{number}" for number in range(3000)])) == 2
    ledger.put_stats("content", {"/a": ("1:2", "d")})
    ledger.put_stats("content", {"/a": ("1:3", "e"), "/b": ("", "")})
    assert ledger.stats("content", ["/a", "/b", "/c"]) == {"/a": ("1:3", "e"), "/b": ("", "")}
    assert ledger.stats("module", ["/a"]) == {}


def test_the_oldest_analyses_make_room(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellway.ledger._ANALYSES_KEPT", 3)
    for number in range(6):
        ledger.put_many({f"d{number}": b"x"})
    assert sorted(ledger.get_many([f"d{number}" for number in range(6)])) == ["d3", "d4", "d5"]


def test_reading_creates_no_file(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "deep" / "ledger.sqlite"))
    assert ledger.runs() == ledger.candidates("k") == ledger.step_runs("r") == ledger.artifacts() == ()
    assert ledger.facts(["c"]) == ledger.last("s", ["a"]) == ledger.live_blobs() == ledger.get_many(["d"]) == {}
    assert ledger.source("f") is None
    with pytest.raises(UsageError):
        ledger.run("last")
    assert list(tmp_path.iterdir()) == []
    ledger.put_sources({"f": "text"})
    assert ledger.source("f") == "text"


def test_other_events_are_passed_over(ledger: Ledger, tmp_path: Path) -> None:
    for kind in ("step-started", "cell", "output", "step-retry", "step-outdated", "step-waiting"):
        ledger.append(Event(kind, 1.0, run_record("r1"), "a"))
    assert list(tmp_path.iterdir()) == []


# --- damage, locks, other versions -------------------------------------------------------------------------------


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database at all, and longer than a header of a hundred bytes" * 4)
    with pytest.raises(LedgerError, match="is damaged") as caught:
        Ledger(str(path)).runs()
    assert "move the file away" in caught.value.fix
    assert str(path) in caught.value.message


def test_damaged_pages_are_an_error_in_words(ledger: Ledger) -> None:
    record(ledger, "r1", *(step_run("r1", f"s{number}", f"k{number}") for number in range(200)))
    ledger.close()
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(Path(ledger.path).read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    Path(ledger.path).write_bytes(data)
    with pytest.raises(LedgerError, match="damaged"):
        ledger.step_runs("r1")


def test_a_ledger_of_an_older_cellway(ledger: Ledger) -> None:
    record(ledger, "r1", full())
    ledger.close()
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("ALTER TABLE step_runs DROP COLUMN written")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    from dataclasses import replace

    assert ledger.step_run("s1") == replace(full(), written=())
    assert ledger.lookup("k1")[0].written == ()
    record(ledger, "r2", replace(full("r2"), id="s2"))
    assert ledger.step_run("s2") == replace(full("r2"), id="s2")
    assert [list(each) for each in ledger.lookup("k1")[0].written] == [["out/t.txt", "d2"], ["out/gone.txt", ""]]


def test_a_ledger_of_a_newer_cellway(ledger: Ledger) -> None:
    record(ledger, "r1")
    ledger.close()
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="newer cellway") as caught:
        ledger.runs()
    assert "upgrade" in caught.value.fix


def test_a_ledger_locked_for_long(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    record(ledger, "r1")
    ledger.close()
    monkeypatch.setattr("cellway.ledger.database.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked"):
        record(ledger, "r2")
    assert [run.id for run in ledger.runs()] == ["r1"]  # reading goes on meanwhile
    other.execute("ROLLBACK")
    record(ledger, "r2")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="ledger"):
        Ledger(str(tmp_path / "file" / "ledger.sqlite")).put_sources({"f": "x"})


def test_a_full_disk_loses_nothing(ledger: Ledger) -> None:
    record(ledger, "r1")
    connection = ledger._database._open()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(LedgerError, match="full"):
        record(ledger, "r2", step_run("r2", "a", "k", artifacts=(artifact("x", "1", sidecar={"text": "x" * 100_000}),)))
    connection.execute("PRAGMA max_page_count = 100000")
    assert ledger.step_runs("r2") == ()
    record(ledger, "r3", step_run("r3", "a", "k"))
    assert len(ledger.step_runs("r3")) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_without_room_for_sqlites_own_files_is_not_called_damage(ledger: Ledger) -> None:
    record(ledger, "r1")
    ledger.close()
    script = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        from cellway.ledger import Ledger
        try:
            Ledger({ledger.path!r}).runs()
        except Exception as error:
            print(type(error).__name__, error.message, error.fix)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("LedgerError cannot read the ledger"), done.stdout
    assert "room" in done.stdout
    assert "damaged" not in done.stdout
    assert "move" not in done.stdout  # whoever followed that would throw the record of all runs away
    assert [run.id for run in ledger.runs()] == ["r1"]


WRITER = """
    import sys
    sys.path.insert(0, {tests!r})
    from planning_world import artifact, finished, run_record, step_run
    from cellway.ledger import Ledger
    from cellway.records import Event

    ledger, name = Ledger({path!r}), sys.argv[1]
    run = run_record(name)
    ledger.append(Event("run-started", 1.0, run))
    for number in range(int(sys.argv[2])):
        done = step_run(name, f"s{{number}}", f"k{{number}}", artifacts=(artifact("x", str(number)), artifact("y", "")))
        ledger.append(finished(run, done))
        print(number, flush=True)
"""


def writer(ledger: Ledger, name: str, count: int) -> subprocess.Popen[str]:
    script = textwrap.dedent(WRITER).format(tests=str(TESTS), path=ledger.path)
    return subprocess.Popen([sys.executable, "-c", script, name, str(count)], stdout=subprocess.PIPE, text=True)


def test_two_processes_create_and_append_at_once(ledger: Ledger) -> None:
    writers = [writer(ledger, name, 150) for name in ("one", "two")]
    for process in writers:
        process.communicate()
    assert [process.returncode for process in writers] == [0, 0]
    assert {run.id for run in ledger.runs()} == {"one", "two"}
    for name in ("one", "two"):
        assert [done.step for done in ledger.step_runs(name)] == [f"s{number}" for number in range(150)]
    assert len(ledger.lookup("k7")) == 2


def test_a_killed_writer_leaves_what_it_had_appended(ledger: Ledger) -> None:
    process = writer(ledger, "one", 100_000)
    assert process.stdout is not None
    told = -1
    for line in process.stdout:
        told = int(line)
        if told >= 60:
            break
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.communicate()
    kept = ledger.step_runs("one")
    assert len(kept) > told
    assert all(len(done.artifacts) == 2 for done in kept)
    assert ledger.run("one").status is Status.CANCELLED
    with sqlite3.connect(ledger.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    record(ledger, "two")


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    def work(name: str) -> None:
        run = run_record(name)
        for number in range(30):
            ledger.append(finished(run, step_run(name, f"s{number}", "k")))
            ledger.lookup("k")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(ledger.step_runs(name)) for name in "abcd"] == [30] * 4


# --- how it is read ----------------------------------------------------------------------------------------------


def test_no_query_reads_a_big_table_from_end_to_end(ledger: Ledger) -> None:
    """Only gc, which looks at everything by its nature, may."""
    statements: list[str] = []
    runs = shelf(ledger)
    connection = ledger._database._open()
    connection.set_trace_callback(statements.append)
    key = runs["load"].key
    assert key is not None
    ledger.lookup(key.digest)
    ledger.candidates(key.digest)
    ledger.facts(["code-load"])
    ledger.last("nb.ipynb", ["load", "clean"])
    ledger.source("f")
    ledger.runs(limit=5)
    ledger.run("r1")
    ledger.run("last")
    ledger.step_runs("r2")
    ledger.step_run(runs["load"].id)
    ledger.artifacts(run="r1")
    ledger.artifacts(name="df")
    ledger.artifact("clean.df")
    ledger.artifact(runs["load"].artifacts[0].fingerprint[:10])
    ledger.get_many(["d"])
    ledger.stats("content", ["/a"])
    ledger.forget("nobody")
    ledger.append_cached_run(run_record("r7", status=Status.COMPLETED), [("load", runs["load"].id)])
    inputs = {"df": runs["load"].artifacts[0].fingerprint}
    record(ledger, "r8", step_run("r8", "x", "kx", inputs=inputs, providers={"df": "load"}))
    connection.set_trace_callback(None)
    plans = []
    for statement in dict.fromkeys(statements):
        if statement.startswith(("SELECT", "INSERT")):
            plans += [(row[3], statement) for row in connection.execute("EXPLAIN QUERY PLAN " + statement)]
    assert len(plans) > 40
    # `r` are the runs, read newest first up to a limit; `latest` has one row per step there is; `s` is a subquery of at
    # most 20 rows, which has a plan of its own.
    small = ("SCAN CONSTANT", "SCAN r", "SCAN latest", "SCAN s")
    scans = [plan for plan in plans if plan[0].startswith("SCAN") and not plan[0].startswith(small)]
    assert scans == []


def test_the_ledger_imports_little() -> None:
    script = """
        import sys
        before = set(sys.modules)
        import cellway.ledger
        print(*sorted(set(sys.modules) - before))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {
        "cellway.records",
        "dataclasses",
        "inspect",
        "asyncio",
        "importlib.metadata",
        "nbformat",
        "papermill",
        "yaml",
        "rich",
        "socket",
    }
    assert loaded & heavy == set()
