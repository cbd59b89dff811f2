"""Runs with real kernels, real papermill, a real ledger and store; the pipelines are small and built by hand."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from execution_world import SLEEPING, World, chain, final, kinds, pipeline, sleeping, statuses, step

from cellway import fingerprint, planning
from cellway.errors import StoreError, UsageError
from cellway.execution import Cancellation
from cellway.records import RANDOM, Event, Pipeline, Status


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_steps_run_in_order_and_hand_over_values(world: World) -> None:
    events = world.run(chain())
    assert kinds(events) == [
        ("run-started", None),
        *((kind, name) for name in "abc" for kind in ("step-started", "step-finished")),
        ("run-finished", None),
    ]
    assert statuses(events) == dict.fromkeys("abc", "completed")
    assert events[-1].run.status is Status.COMPLETED
    assert [e.data["text"] for e in events if e.kind == "output"] == ["2\n"]
    assert [dict(e.data) for e in events if e.kind == "cell"] == [{"cell": 1, "cells": 1}] * 3
    done = final(events)["b"]
    assert done.key is not None
    assert done.inputs == {"x": final(events)["a"].artifacts[0].fingerprint}
    assert done.providers == {"x": "a"}
    assert (world.folder / str(done.notebook)).name == "b.ipynb"
    assert not list((world.folder / "tmp").iterdir())
    assert not list((world.folder / "claims").iterdir())


def test_a_second_run_computes_nothing(world: World) -> None:
    first = world.run(chain())
    events = world.run(chain())
    assert kinds(events) == [("run-started", None), *(("step-finished", n) for n in "abc"), ("run-finished", None)]
    assert statuses(events) == dict.fromkeys("abc", "cached")
    assert final(events)["b"].producer == final(first)["b"].id
    assert world.value(events, "b", "y") == 2


def test_only_what_changed_runs_and_an_equal_result_stops_the_wave(world: World) -> None:
    world.run(chain())
    book = pipeline(
        step("a", "x = 2 - 1", writes="x"),
        step("b", "y = x + 1", reads="x", writes="y"),
        step("c", "print(y)", reads="y"),
    )
    assert statuses(world.run(book)) == {"a": "completed", "b": "cached", "c": "cached"}


BARRIER = """
import pathlib, time
pathlib.Path({me!r}).touch()
while not pathlib.Path({other!r}).exists():
    time.sleep(0.02)
"""


def test_independent_steps_run_side_by_side(world: World) -> None:
    """Each waits for the other's file: one after the other they would never end."""
    left = step("left", BARRIER.format(me="l", other="r") + "a = 1", writes="a", options={"timeout": 60})
    right = step("right", BARRIER.format(me="r", other="l") + "b = 2", writes="b", options={"timeout": 60})
    events = world.run(pipeline(left, right, step("join", "c = a + b", reads="a b", writes="c", outputs=("c",))))
    assert statuses(events) == {"left": "completed", "right": "completed", "join": "completed"}
    assert world.value(events, "join", "c") == 3


def test_one_job_at_a_time(world: World) -> None:
    events = world.run(pipeline(step("a", "1"), step("b", "2"), step("c", "3")), jobs=1)
    assert kinds(events)[1:-1] == [(k, n) for n in "abc" for k in ("step-started", "step-finished")]


# --- failures ----------------------------------------------------------------------------------------------------


def forked() -> Pipeline:
    """a fails; b needs it; c and d stand for themselves."""
    return pipeline(
        step("a", "x = 1 / 0", writes="x"),
        step("b", "y = x", reads="x", writes="y"),
        step("c", "z = 1", writes="z"),
        step("d", "print(z)", reads="z"),
    )


def test_fail_fast_starts_nothing_new_and_says_why(world: World) -> None:
    events = world.run(forked(), jobs=1)
    assert statuses(events) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert final(events)["b"].reason == "because a failed"
    assert "a failed" in final(events)["c"].reason
    error = final(events)["a"].error
    assert error is not None
    assert (error["kind"], error["ename"], error["cell"], error["line"]) == ("CellFailed", "ZeroDivisionError", 0, 1)
    assert any("ZeroDivisionError" in line for line in error["traceback"])
    assert events[-1].run.status is Status.FAILED
    assert (world.folder / str(final(events)["a"].notebook)).exists()


def test_fail_fast_lets_running_steps_finish(world: World) -> None:
    book = pipeline(
        step("bad", BARRIER.format(me="bad", other="good") + "1 / 0"),
        step("good", BARRIER.format(me="good", other="bad") + "time.sleep(1)\nx = 1", writes="x", outputs=("x",)),
    )
    assert statuses(world.run(book)) == {"bad": "failed", "good": "completed"}


def test_keep_going_does_what_does_not_depend_on_it(world: World) -> None:
    events = world.run(forked(), keep_going=True)
    assert statuses(events) == {"a": "failed", "b": "skipped", "c": "completed", "d": "completed"}
    assert events[-1].run.status is Status.FAILED


def test_retries(world: World) -> None:
    source = "import pathlib\nseen = len(list(pathlib.Path().glob('try-*')))\npathlib.Path(f'try-{seen}').touch()\n"
    source += "assert seen == 2"
    events = world.run(pipeline(step("flaky", source, options={"retries": 3})))
    assert statuses(events) == {"flaky": "completed"}
    assert final(events)["flaky"].attempt == 3
    retries = [e for e in events if e.kind == "step-retry"]
    assert [e.step_run.attempt for e in retries if e.step_run] == [1, 2]
    assert "attempt 2 of 4" in retries[0].message
    there = sorted(p.name for p in (world.folder / "runs" / events[0].run.id).iterdir())
    assert there == ["flaky.attempt1.ipynb", "flaky.attempt2.ipynb", "flaky.ipynb"]


def test_retries_end(world: World) -> None:
    events = world.run(pipeline(step("bad", "1 / 0", options={"retries": 1})))
    assert [kind for kind, _ in kinds(events)] == [
        "run-started", "step-started", "step-retry", "step-started", "step-finished", "run-finished",
    ]  # fmt: skip
    assert final(events)["bad"].attempt == 2


def test_timeout(world: World) -> None:
    events = world.run(pipeline(step("slow", "import time\ntime.sleep(600)", options={"timeout": 2.0})))
    error = final(events)["slow"].error
    assert error is not None
    assert (error["kind"], error["line"]) == ("StepTimeout", 2)


def test_a_killed_kernel(world: World) -> None:
    events = world.run(pipeline(step("big", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")))
    error = final(events)["big"].error
    assert error is not None
    assert error["kind"] == "KernelDied"
    assert "memory" in error["message"]


def test_what_cannot_be_stored_fails_the_step_and_keeps_the_rest(world: World) -> None:
    book = pipeline(
        step("open", "rows = [1, 2]\nfile = open('f', 'w')", writes="rows file"), step("use", "1", reads="rows file")
    )
    events = world.run(book)
    done = final(events)["open"]
    assert done.status is Status.FAILED
    assert done.error is not None
    assert (done.error["kind"], done.error["name"]) == ("CannotStore", "file")
    assert done.error["fix"]
    assert [a.name for a in done.artifacts] == ["rows"]
    assert world.store.has(done.artifacts[0].digest)


def test_a_notebook_that_hands_nothing_over_is_an_error(world: World) -> None:
    source = "artifacts.save = lambda *a, **k: None\nx = 1"
    events = world.run(pipeline(step("a", source, writes="x"), step("b", "x", reads="x")))
    error = final(events)["a"].error
    assert error is not None
    assert "handed nothing over" in error["message"]


def test_a_folder_that_cannot_be_written_ends_the_run_in_words(world: World) -> None:
    world.folder.mkdir()
    (world.folder / "claims").write_text("in the way")
    with pytest.raises(StoreError, match="no claim can be written"):
        world.run(chain(), run_id="no luck")
    assert world.ledger.run("no luck").status is Status.FAILED


def test_a_full_disk_fails_the_step_and_loses_nothing(world: World) -> None:
    """The kernel may write no file of more than 100 kB: what a full disk does, to the program that writes."""
    limit = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    book = pipeline(
        step("small", "x = 1", writes="x"),
        step("large", limit + "y = list(range(10**6))", reads="x", writes="y"),
        step("use", "y", reads="y"),
    )
    events = world.run(book)
    assert statuses(events) == {"small": "completed", "large": "failed", "use": "skipped"}
    assert not list((world.folder / "tmp").iterdir())
    assert all(fingerprint.file(world.store.path(digest)) == digest for digest, _, _ in world.store.list())


# --- conditions and selection ---------------------------------------------------------------------------------------


def test_when(world: World) -> None:
    def book() -> Pipeline:
        return pipeline(
            step("a", "n = 3", writes="n"),
            step("b", "m = n", reads="n", writes="m", options={"when": "n > limit and mode == 'full'"}),
            step("c", "print(m)", reads="m"),
            step("d", "1"),
        )

    world.parameters = {"limit": 5, "mode": "full"}
    events = world.run(book())
    assert statuses(events) == {"a": "completed", "b": "skipped", "c": "skipped", "d": "completed"}
    assert final(events)["b"].reason == "--when n > limit and mode == 'full' is false"
    assert final(events)["c"].reason == "because b was left out"
    assert events[-1].run.status is Status.COMPLETED
    world.parameters = {"limit": 2, "mode": "full"}
    assert statuses(world.run(book())) == {"a": "cached", "b": "completed", "c": "completed", "d": "cached"}


def test_a_condition_that_cannot_be_evaluated_is_a_usage_error(world: World) -> None:
    with pytest.raises(UsageError, match="neither a parameter nor an input"):
        world.run(pipeline(step("a", "1", options={"when": "nope > 1"})), run_id="wrong")
    assert world.ledger.run("wrong").status is Status.FAILED


def test_selection_starts_from_the_cache_or_names_what_to_run(world: World) -> None:
    world.selection = planning.Selection(only=("b",))
    with pytest.raises(UsageError, match="step a is not selected") as caught:
        world.run(chain())
    assert "--only a" in caught.value.fix
    world.selection = planning.Selection(only=("a",))
    assert statuses(world.run(chain())) == {"a": "completed"}
    world.selection = planning.Selection(only=("b",))
    assert statuses(world.run(chain())) == {"a": "cached", "b": "completed"}
    world.selection = planning.Selection(only=("b",), force=("*",))
    assert statuses(world.run(chain())) == {"a": "cached", "b": "completed"}


def test_force_runs_again_and_resume_does_not(world: World) -> None:
    first = world.run(chain())
    world.selection = planning.Selection(force=("*",))
    events = world.run(chain())
    assert statuses(events) == dict.fromkeys("abc", "completed")
    done = {name: step_run for name, step_run in final(events).items() if name != "c"}
    resumed = world.run(chain(), run_id=events[0].run.id, resume=done)
    assert statuses(resumed) == {"a": "cached", "b": "cached", "c": "completed"}
    assert first[0].run.id != events[0].run.id


# --- facts that only running shows ----------------------------------------------------------------------------------


def hidden_change() -> Pipeline:
    """b may change x, and does; c reads x and was free to start beside b."""
    return pipeline(
        step("a", "x = [1]", writes="x"),
        step("b", "import pathlib, time\nwhile not pathlib.Path('c-ran').exists():\n    time.sleep(0.02)\nx.append(2)",
             reads="x", may_change="x", options={"timeout": 60}),
        step("c", "import pathlib\ny = sum(x)\npathlib.Path('c-ran').touch()", reads="x", writes="y", outputs=("y",)),
    )  # fmt: skip


def test_a_step_that_started_from_an_old_value_runs_again(world: World) -> None:
    events = world.run(hidden_change())
    assert ("step-outdated", "c") in kinds(events)
    assert world.value(events, "c", "y") == 3
    assert final(events)["c"].providers == {"x": "b"}
    assert final(events)["b"].facts.changed == ("x",)
    runs = [e.step_run for e in events if e.kind == "step-finished" and e.step == "c" and e.step_run]
    assert len({r.key.digest for r in runs if r.key}) == len(runs)


def test_the_next_run_knows(world: World) -> None:
    world.run(hidden_change())
    again = world.run(hidden_change())
    assert statuses(again) == dict.fromkeys("abc", "cached")
    world.selection = planning.Selection(force=("c",))
    assert ("step-outdated", "c") not in kinds(world.run(hidden_change()))


def test_a_running_step_is_stopped_when_its_input_turns_out_to_be_old(world: World) -> None:
    book = pipeline(
        step("a", "x = [1]", writes="x"),
        step("b", "import pathlib, time\nwhile not pathlib.Path('c-runs').exists():\n    time.sleep(0.02)\nx.append(2)",
             reads="x", may_change="x", options={"timeout": 60}),
        step("c", "import pathlib, time\npathlib.Path('c-runs').touch()\ntime.sleep(600 * (len(x) == 1))\ny = sum(x)",
             reads="x", writes="y", outputs=("y",), options={"timeout": 60}),
    )  # fmt: skip
    events = world.run(book)
    assert world.value(events, "c", "y") == 3
    told = [kind for kind, name in kinds(events) if name == "c"]
    assert told == ["step-started", "step-outdated", "step-started", "step-finished"]


def drawing() -> Pipeline:
    sources = ["a = random.random()", "b = random.random()", "c = 1", "d = random.random()"]
    steps = [
        step(name, f"import random\n{source}", writes=name, outputs=(name,))
        for name, source in zip("abcd", sources, strict=True)
    ]
    return pipeline(*steps, seeded=True)


def test_a_seeded_notebook_hands_the_generators_state_on(world: World) -> None:
    """Whatever runs beside whatever: the numbers are those of one kernel, top to bottom."""
    import random

    # The first state comes from the code: here, as %%setup would, from the first step.
    book = drawing()
    source = "import random\nrandom.seed(7)\na = random.random()"
    code = replace(book.steps[0].cells[0], source=source, fingerprint=fingerprint.text("cell", source))
    book = replace(book, steps=(replace(book.steps[0], cells=(code,)), *book.steps[1:]))
    events = world.run(book)
    numbers = random.Random(7)
    expected = [numbers.random() for _ in range(3)]
    assert [world.value(events, name, name) for name in "abd"] == expected
    assert final(events)["d"].providers == {RANDOM: "b"}
    assert RANDOM not in final(events)["c"].inputs
    assert statuses(world.run(book)) == dict.fromkeys("abcd", "cached")


def test_an_unseeded_notebook_gives_each_step_its_own_seed(world: World) -> None:
    book = drawing()
    book = replace(book, seeded=False, steps=tuple(replace(s, draws=False) for s in book.steps))
    together = world.run(book)
    alone = World(world.root / "other")
    alone.root.mkdir()
    alone.selection = planning.Selection(only=("d",))
    assert alone.value(alone.run(book), "d", "d") == world.value(together, "d", "d")
    values = [world.value(together, name, name) for name in "abd"]
    assert len(set(values)) == 3
    world.seed = 1
    assert world.value(world.run(book), "a", "a") != values[0]


# --- cancelling, two runs, death --------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_cancel(world: World) -> None:
    cancel = Cancellation()
    events = []
    for event in world.events(sleeping(), cancel=cancel):
        events.append(event)
        if event.kind == "output":
            cancel.set()
    assert statuses(events) == {"a": "completed", "b": "cancelled"}
    assert events[-1].run.status is Status.CANCELLED
    pid = int((world.root / "pid").read_text())
    assert eventually(lambda: not alive(pid))
    assert (world.folder / str(final(events)["b"].notebook)).exists()
    assert not list((world.folder / "tmp").iterdir())


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_the_generator_waits(world: World, presses: int) -> None:
    running = world.bare(sleeping())
    events: list[Event] = []
    for event in running:
        world.ledger.append(event)
        events.append(event)
        if event.kind == "output":
            for _ in range(presses):
                events += [running.throw(KeyboardInterrupt)]  # type: ignore[attr-defined]
            break
    events += running
    assert statuses(events) == {"a": "completed", "b": "cancelled"}
    assert events[-1].run.status is Status.CANCELLED


def test_closing_the_generator_ends_the_kernels(world: World) -> None:
    events = world.events(sleeping())
    for event in events:
        if event.kind == "output":
            break
    events.close()  # type: ignore[attr-defined]
    pid = int((world.root / "pid").read_text())
    assert not alive(pid)
    assert not list((world.folder / "claims").iterdir())


def test_two_runs_compute_a_step_once(world: World, tmp_path: Path) -> None:
    source = (
        "import pathlib, time\nn = len(list(pathlib.Path().glob('count-*')))\npathlib.Path(f'count-{n}').touch()\n"
        "while not pathlib.Path('go').exists():\n    time.sleep(0.02)\nx = 5"
    )
    book = pipeline(step("a", source, writes="x", outputs=("x",), options={"timeout": 100}))
    second = World(tmp_path)
    first_events: list[Event] = []
    thread = threading.Thread(target=lambda: first_events.extend(world.events(book, run_id="one")))
    thread.start()
    assert eventually((tmp_path / "count-0").exists)
    second_events = []
    for event in second.events(book, run_id="two"):
        second_events.append(event)
        if event.kind == "step-waiting":
            (tmp_path / "go").touch()
    thread.join()
    assert statuses(first_events) == {"a": "completed"}
    assert kinds(second_events)[1:-1] == [("step-waiting", "a"), ("step-finished", "a")]
    assert statuses(second_events) == {"a": "cached"}
    assert not (tmp_path / "count-1").exists()


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from cellway.backends import Cancellation
from execution_world import World, sleeping
import signal
cancel = Cancellation()
signal.signal(signal.SIGINT, lambda *_: cancel.set())
for event in World(Path({root!r})).events(sleeping(), run_id="doomed", cancel=cancel):
    print(event.kind, event.step, flush=True)
"""


def start(world: World) -> subprocess.Popen[str]:
    """A run in a process of its own, up to where step b says that it is there."""
    code = SCRIPT.format(path=[str(Path(__file__).parent)], root=str(world.root))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "output b\n":
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_killed_from_outside_no_kernel_is_left_and_the_run_resumes(world: World) -> None:
    process = start(world)
    process.kill()
    process.wait()
    pid = int((world.root / "pid").read_text())
    assert eventually(lambda: not alive(pid))
    run = world.ledger.run("doomed")
    assert run.ended is None
    done = {s.step: s for s in world.ledger.step_runs("doomed")}
    assert {name: s.status for name, s in done.items()} == {"a": Status.COMPLETED}
    # The claim of the dead is void: the same step starts at once.
    awake = SLEEPING.replace("600", "0")
    book = pipeline(step("a", "x = 1", writes="x"), step("b", awake, reads="x", writes="y"))
    events = world.run(book, run_id="doomed", resume=done)
    assert statuses(events) == {"a": "cached", "b": "completed"}
    assert world.ledger.run("doomed").status is Status.COMPLETED
    assert not list((world.folder / "tmp").iterdir())


def test_ctrl_c_at_the_terminal(world: World) -> None:
    process = start(world)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert output.splitlines()[-2:] == ["step-finished b", "run-finished None"], errors
    assert world.ledger.run("doomed").status is Status.CANCELLED
    assert errors == ""
    assert not alive(int((world.root / "pid").read_text()))


def test_a_cached_run_imports_nothing_heavy(world: World) -> None:
    world.run(chain())
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from pathlib import Path
from execution_world import World, chain, statuses
print(statuses(World(Path({str(world.root)!r})).run(chain())))
heavy = ["nbformat", "papermill", "pyarrow", "pandas", "numpy", "IPython", "nbclient", "zmq", "rich", "yaml", "asyncio"]
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(dict.fromkeys("abc", "cached")), "[]"], done.stderr
