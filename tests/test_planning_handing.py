"""Files that steps hand to each other: who waits for whom, whose files are looked at, and what a plan says."""

from __future__ import annotations

from pathlib import Path

import pytest
from planning_world import World, pipeline, step

from cellway.planning import Handed, Selection, facts, plan, resolve, select
from cellway.records import Facts, FileRead


def shown(**said: str) -> dict[str, Facts]:
    """``a="w:t.txt r:old.txt"``: what each step wrote and read."""
    found = {}
    for name, text in said.items():
        kinds = {"w": [], "r": []}
        for item in text.split():
            kinds[item[0]].append(item[2:])
        found[name] = Facts((), False, tuple(kinds["w"]), tuple(kinds["r"]))
    return found


@pytest.mark.parametrize(
    ("known", "before"),
    [
        (shown(a="w:t", b="r:t"), {"b": {"a": "t"}}),
        (shown(b="w:t", a="r:t"), {"b": {"a": "t"}}),
        (shown(a="r:t", b="r:t"), {}),
        (shown(a="w:t", b="r:u"), {}),
        (shown(a="w:t", b="w:t"), {}),
        (shown(a="w:t", b="w:t", c="r:t"), {"b": {"a": "t"}, "c": {"a": "t", "b": "t"}}),
        (shown(a="w:t", b="w:t r:t"), {"b": {"a": "t"}}),
        (shown(a="w:t", c="r:t"), {"c": {"a": "t"}}),
        (shown(a="w:parts/1 w:parts/2", b="r:parts/"), {"b": {"a": "parts/1"}}),
        (shown(a="w:parts/", b="r:parts/x/1"), {"b": {"a": "parts/"}}),
        (shown(a="w:parts/", b="r:parts.txt"), {}),
    ],
)
def test_who_waits_for_whom(known: dict[str, Facts], before: dict[str, dict[str, str]]) -> None:
    still = {name: known.get(name, Facts((), False)) for name in "abc"}
    handed = Handed(pipeline(step("a"), step("b"), step("c")), still)
    assert {name: dict(handed.before(name)) for name in "abc" if handed.before(name)} == before


@pytest.mark.parametrize(
    ("sources", "guessed"),
    [
        (("df.to_csv('out/t.csv')", "read('t.csv')"), True),
        (("df = read_csv('t.csv')", "df = read_csv('t.csv')"), False),
        (("df = read_csv('t.csv')", "df.to_csv('t.csv')"), True),
        (("open(f'{folder}/t.txt', 'w')", "open(folder / 't.txt')"), True),
        (("open('t.txt', 'w')", "open('u.txt')"), False),
        (("%%writefile lib/t.dat\n1", "load('t.dat')"), True),
        (("x.dump('a.b')", "'a.c'"), False),
        (("x.dump(place(1))", "sorted(parts.glob('*'))"), True),
        (("y = x", "sorted(parts.glob('*'))"), False),
        (("con.sql(\"copy t to 't.parquet'\")", "scan('t.parquet')"), True),
    ],
)
def test_what_the_code_suggests(sources: tuple[str, str], guessed: bool) -> None:
    pipe = pipeline(step("a", sources[0]), step("b", sources[1]))
    assert Handed(pipe, {}).guessed("b") == ({"a"} if guessed else set())
    assert Handed(pipe, {}).before("b") == {}
    # Where it is known, nothing has to be guessed.
    assert Handed(pipe, shown(a="", b="")).guessed("b") == frozenset()


def test_a_module_that_a_step_writes_is_suggested() -> None:
    pipe = pipeline(step("a", "%%writefile helpers.py\nx = 1"), step("b", "import helpers", modules=("helpers",)))
    assert Handed(pipe, {}).guessed("b") == {"a"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


PIPE = pipeline(step("a"), step("b"), step("c", reads="x"))
KNOWN = shown(a="w:t.txt", b="r:t.txt", c="")


def run(world: World, content: str = "new", pipe: object = PIPE) -> list[str]:
    """``a`` writes ``t.txt``, ``b`` reads it."""
    return world.run(
        pipe,  # type: ignore[arg-type]
        facts=KNOWN,
        observed={"b": ["t.txt"]},
        writes={"a": {"t.txt": content}},
    )


def test_a_plan_says_what_became_of_a_file(world: World) -> None:
    run(world)
    assert world.statuses(PIPE) == "ccc"
    path = world.root / "t.txt"
    path.write_text("other")
    assert world.statuses(PIPE) == "ppc"
    assert world.reason(PIPE, "a") == "file `t.txt`, which this step writes, was changed"
    assert world.reason(PIPE, "b") == "a runs first; reused if it writes the same file `t.txt`"
    path.unlink()
    assert world.reason(PIPE, "a") == "file `t.txt`, which this step writes, is gone"
    assert run(world) == ["a"]
    assert world.statuses(PIPE) == "ccc"


def test_the_file_of_a_step_that_nobody_reads_is_its_own_business(world: World) -> None:
    pipe = pipeline(step("a"), step("b"))
    world.run(pipe, facts=shown(a="w:log.txt", b=""), writes={"a": {"log.txt": "1"}})
    (world.root / "log.txt").write_text("2")
    assert world.statuses(pipe) == "cc"
    # Of a step that never ran nobody knows what it reads.
    assert world.statuses(pipeline(step("a"), step("b", "other"))) == "pp"


def test_only_the_last_writer_is_compared(world: World) -> None:
    pipe = pipeline(step("a"), step("b"), step("c"))
    known = shown(a="w:t.txt", b="w:t.txt r:t.txt", c="r:t.txt")
    made = {"a": {"t.txt": "1"}, "b": {"t.txt": "2"}}
    world.run(pipe, facts=known, observed={"b": ["t.txt"], "c": ["t.txt"]}, writes=made)
    assert world.statuses(pipe) == "ccc"
    (world.root / "t.txt").write_text("3")
    assert world.statuses(pipe) == "cpp"


def test_an_edited_writer_is_taken_to_write_what_it_wrote(world: World) -> None:
    run(world)
    edited = pipeline(step("a", "edited"), step("b"), step("c", reads="x"))
    assert world.statuses(edited) == "ppc"
    assert world.reason(edited, "b").startswith("a runs first; reused if it writes the same file `t.txt`")
    assert run(world, "new", edited) == ["a"]
    assert run(world, "new", edited) == []
    again = pipeline(step("a", "edited again"), step("b"), step("c", reads="x"))
    assert run(world, "newer", again) == ["a", "b"]


def test_selection_follows_files(world: World) -> None:
    handed = Handed(PIPE, KNOWN)
    assert select(PIPE, Selection(until=("b",)), resolve(PIPE, KNOWN), handed) == {"a", "b"}
    assert select(PIPE, Selection(from_=("a",)), resolve(PIPE, KNOWN), handed) == {"a", "b"}


def test_what_was_checked_is_what_a_plan_rests_on(world: World) -> None:
    run(world)
    context = world.context(PIPE)
    plan(PIPE, context)
    assert str(world.root / "t.txt") in context.looked_at()


def test_facts_of_files_come_from_the_ledger(world: World) -> None:
    run(world)
    known = facts(PIPE, world.ledger)
    assert (known["a"].wrote, known["b"].read) == (("t.txt",), ("t.txt",))
    assert world.ledger.last(str(world.root / PIPE.source), ["a"])["a"].written == (
        FileRead("t.txt", world.context(PIPE).files.digest(str(world.root / "t.txt"))),
    )
