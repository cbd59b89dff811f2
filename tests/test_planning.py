from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_world import World, artifact, code, pipeline, step, symbol

from cellway import fingerprint, planning
from cellway.errors import UsageError
from cellway.planning import Selection
from cellway.records import RANDOM, Facts, Parameter, Pipeline, Status, Step


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def chain() -> tuple[Step, Step, Step]:
    return (
        step("load", "df = read()", "", "df"),
        step("clean", "df = df", "df", "df"),
        step("train", "m = df", "df", "m"),
    )


# --- who provides what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "facts", "expected"),
    [
        ([step("a", writes="x"), step("b", reads="x")], {}, {"b": {"x": "a"}}),
        ([step("a", writes="x"), step("b", writes="x"), step("c", reads="x")], {}, {"c": {"x": "b"}}),
        ([step("a", reads="x", writes="x"), step("b", reads="x")], {}, {"b": {"x": "a"}}),
        ([step("a", writes="x"), step("b", reads="x"), step("c", reads="x")], {}, {"b": {"x": "a"}, "c": {"x": "a"}}),
        (
            [step("a", writes="x"), step("b", reads="x", may_change=("x",)), step("c", reads="x")],
            {"b": Facts(("x",))},
            {"b": {"x": "a"}, "c": {"x": "b"}},
        ),
        (
            [step("a", writes="x"), step("b", reads="x"), step("c", reads="x")],
            {"b": Facts(("y",)), "c": Facts(("x",))},
            {"b": {"x": "a"}, "c": {"x": "a"}},
        ),
        ([step("a", writes="x"), step("b", reads="x", deletes=("x",)), step("c", reads="x")], {}, {"b": {"x": "a"}}),
        ([step("a", reads="lr"), step("b", reads="lr")], {}, {}),
        (
            [step("a", draws=True), step("b", draws=True), step("c", draws=True), step("d", draws=True)],
            {"a": Facts((), True), "b": Facts((), False), "c": Facts((), True)},
            {"c": {RANDOM: "a"}},
        ),
        (
            [step("a", draws=True), step("b"), step("c", draws=True)],
            {name: Facts((), True) for name in "abc"},
            {"c": {RANDOM: "a"}},
        ),
        (
            [step("a", draws=True), step("b", draws=True, chain=1), step("c", draws=True, chain=1)],
            {name: Facts((), True) for name in "abc"},
            {"c": {RANDOM: "b"}},
        ),
    ],
)
def test_the_provider_is_the_nearest_earlier_step_that_binds_or_changes_the_name(
    steps: list[Step], facts: Mapping[str, Facts], expected: Mapping[str, Mapping[str, str]]
) -> None:
    found = planning.resolve(Pipeline("p", "p", None, "python", tuple(steps)), facts)
    assert {name: dict(providers) for name, providers in found.items() if providers} == expected
    assert set(found) == {each.name for each in steps}


def test_what_a_later_step_takes_is_stored() -> None:
    pipe = pipeline(
        step("a", writes="x y"),
        step("b", reads="x", outputs=("score",), draws=True),
        step("c", reads="x", draws=True),
    )
    facts = {"b": Facts(("x",), True), "c": Facts((), True)}
    found = planning.outputs(pipe, planning.resolve(pipe, facts))
    assert found == {"a": ("x",), "b": ("score", "x", RANDOM), "c": ()}


def test_watched_is_what_may_change_if_anything_is_read_later() -> None:
    # Of `x` itself nothing is read later, but `y` may hold the same object.
    pipe = pipeline(step("a", reads="x y", may_change=("x", "y")), step("b", reads="y", may_change=("y",)))
    assert [planning.watch(each) for each in pipe.steps] == [("x", "y"), ()]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (step("a", "x"), step("b", "x"), True),
        (step("a", "x"), step("a", "y"), False),
        (step("a", "x", parameters=("lr",)), step("a", "x", options={"seed": 1}), True),
        (
            step("a", "x", carried=(symbol("f", "f"), symbol("g", "g"))),
            step("a", "x", carried=(symbol("g", "g"), symbol("f", "f"))),
            True,
        ),
        (
            step("a", "x", carried=(symbol("def f(k=A): 0", "f"), symbol("A = 1", "A"), symbol("A = 2", "A"))),
            step("a", "x", carried=(symbol("A = 1", "A"), symbol("def f(k=A): 0", "f"), symbol("A = 2", "A"))),
            False,
        ),
        (
            step("a", "x", carried=(symbol("A = 1", "A"), symbol("A = 2", "A"))),
            step("a", "x", carried=(symbol("A = 2", "A"), symbol("A = 1", "A"))),
            False,
        ),
        (
            step("a", "x", carried=(symbol("@r\ndef f(): 0", "f"), symbol("@r\ndef g(): 0", "g"))),
            step("a", "x", carried=(symbol("@r\ndef g(): 0", "g"), symbol("@r\ndef f(): 0", "f"))),
            False,
        ),
        (
            step("a", "x", carried=(code("s1", "setup 1", "setup"), symbol("import a", "a"), symbol("import b", "b"))),
            step("a", "x", carried=(code("s1", "setup 1", "setup"), symbol("import b", "b"), symbol("import a", "a"))),
            True,
        ),
        (
            step("a", cells=(code("1", "cell 1"), code("2", "cell 2"))),
            step("a", cells=(code("2", "cell 1"), code("1", "cell 2"))),
            False,
        ),
    ],
)
def test_the_code_digest_is_about_code_and_nothing_else(one: Step, other: Step, same: bool) -> None:
    assert (planning.code_digest(one) == planning.code_digest(other)) is same


# --- reuse -------------------------------------------------------------------------------------------------------


def test_the_second_run_runs_nothing(world: World) -> None:
    pipe = pipeline(*chain())
    assert world.reason(pipe, "load") == "never run"
    assert world.run(pipe) == ["load", "clean", "train"]
    assert world.statuses(pipe) == "ccc"
    assert world.run(pipe) == []
    plan = world.plan(pipe)
    assert [(planned.reason, planned.seconds) for planned in plan.steps] == [("nothing changed", 2.5)] * 3
    assert all(planned.step_run and planned.key for planned in plan.steps)


def test_a_change_runs_what_follows_unless_it_gives_the_same(world: World) -> None:
    load, clean, train = chain()
    world.run(pipeline(load, clean, train))
    edited = pipeline(load, replace(clean, cells=(code("df = df  # 2"),)), train)
    plan = world.plan(edited)
    assert [planned.reason for planned in plan.steps] == [
        "nothing changed",
        "cell 1 changed",
        "clean runs first; reused if it gives the same `df`",
    ]
    assert plan.steps[2].key is None
    assert world.run(edited) == ["clean"]  # early cut-off
    assert world.run(pipeline(load, replace(clean, cells=(code("df = 3"),)), train), {"df": "else"}) == [
        "clean",
        "train",
    ]
    assert world.statuses(pipeline(load, clean, train)) == "ccc"  # going back costs nothing


def test_a_failed_step_is_never_reused(world: World) -> None:
    pipe = pipeline(*chain())
    assert world.run(pipe, fail="clean") == ["load", "clean"]
    plan = world.plan(pipe)
    assert [planned.status for planned in plan.steps] == [Status.CACHED, Status.PENDING, Status.PENDING]
    assert plan.steps[1].reason == "failed the last time"
    assert world.run(pipe) == ["clean", "train"]


def test_facts_of_the_first_run_move_providers_in_later_plans(world: World) -> None:
    load = step("load", "df = read()", "", "df")
    fit = step("fit", "fit(df)", "df", "", may_change=("df",))
    show = step("show", "show(df)", "df", "")
    pipe = pipeline(load, fit, show)
    changed = {"fit": Facts(("df",))}
    world.run(pipe, {"df": "raw"}, facts=changed)
    # `show` began with what `fit` had made of it.
    assert world.plan(pipe).steps[2].status is Status.CACHED
    assert world.ledger.last(world.context(pipe).source, ["show"])["show"].providers == {"df": "fit"}
    assert world.statuses(pipe) == "ccc"


def test_a_step_that_changed_nothing_this_time_passes_the_name_through(world: World) -> None:
    lr = Parameter("lr", "float", 0.1)
    load = step("load", "df = read()", "", "df")
    fit = step("fit", "if lr > 1: fit(df)", "df", "", may_change=("df",), parameters=("lr",))
    pipe = pipeline(load, fit, step("show", "show(df)", "df", ""), parameters=[lr])
    assert world.run(pipe) == ["load", "fit", "show"]
    assert world.run(pipe, facts={"fit": Facts(("df",))}, parameters={"lr": 2.0}) == ["fit", "show"]
    assert world.statuses(pipe, parameters={"lr": 2.0}) == "ccc"
    # The code is known to change df, but it is also known that it did not with lr = 0.1.
    assert world.statuses(pipe) == "ccc"
    assert world.run(pipe) == []


def test_a_name_that_was_not_watched_makes_its_possible_changer_run_again(world: World) -> None:
    load = step("load", "df = read()", "", "df")
    fit = step("fit", "fit(df)", "df", "", may_change=("df",))
    world.run(pipeline(load, fit))
    more = pipeline(load, fit, step("show", "show(df)", "df", ""))
    plan = world.plan(more)
    assert [planned.status.value[0] for planned in plan.steps[:2]] == ["c", "p"]
    assert plan.steps[1].reason == "a later step reads `df` now, and this step may change it"
    world.run(more)
    assert world.statuses(more) == "ccc"
    assert world.statuses(pipeline(load, fit)) == "cc"  # and back


def test_an_output_that_was_not_kept_makes_the_step_run_again(world: World) -> None:
    load = step("load", "df = x = 1", "", "df x")
    world.run(pipeline(load, step("a", "df", "df")))
    pipe = pipeline(load, step("a", "df", "df"), step("b", "x", "x"))
    assert world.reason(pipe, "load") == "`x` is needed now, and the last run did not keep it"
    assert world.run(pipe) == ["load", "b"]


def test_a_blob_that_is_gone_makes_the_step_run_again(world: World) -> None:
    pipe = pipeline(*chain())
    world.run(pipe)
    world.store.remove(fingerprint.text("blob", "clean.df"))
    assert world.statuses(pipe) == "cpp"
    assert world.reason(pipe, "clean") == "artifact `df` is no longer in the store"
    world.ledger.forget(str(world.plan(pipe).steps[0].step_run))
    assert world.reason(pipe, "load") == "its results were deleted"
    assert world.run(pipe) == ["load", "clean"]


def test_the_generators_state_is_an_input_of_steps_that_draw(world: World) -> None:
    a, b, c = (step(name, f"random() # {name}", draws=True) for name in "abc")
    pipe = pipeline(a, b, c, seeded=True)
    drawing = {"a": Facts((), True), "b": Facts((), False), "c": Facts((), True)}
    world.run(pipe, facts=drawing)
    # The first run of c did not know of a's state as an input; the second does, and stays.
    world.run(pipe, facts=drawing)
    assert world.statuses(pipe) == "ccc"
    key = world.plan(pipe).steps[2].key
    assert key is not None
    assert f"inputs/{RANDOM}" in key.parts
    edited = pipeline(replace(a, cells=(code("random(2)"),)), b, c, seeded=True)
    assert world.run(edited, {RANDOM: "another state"}, facts=drawing) == ["a", "c"]


# --- options, selection ------------------------------------------------------------------------------------------


def test_a_step_without_cache_always_runs(world: World) -> None:
    pipe = pipeline(step("now", "t = time()", "", "t", options={"no_cache": True}), step("use", "t", "t"))
    world.run(pipe)
    assert world.statuses(pipe) == "pp"
    assert world.reason(pipe, "now") == "always runs (--no-cache)"
    assert world.run(pipe) == ["now"]
    assert world.run(pipe, {"t": "later"}) == ["now", "use"]


def test_steps_run_again_on_request(world: World) -> None:
    pipe = pipeline(*chain())
    world.run(pipe)
    assert world.statuses(pipe, selection=Selection(force=("clean",))) == "cpp"
    assert world.reason(pipe, "clean", selection=Selection(force=("clean",))) == "run again on request"
    assert world.run(pipe, selection=Selection(force=("*",))) == ["load", "clean", "train"]
    assert world.reason(pipe, "train", selection=Selection(force=("*",))) == "run again on request"


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), "abcd"),
        (Selection(only=("b",)), "b"),
        (Selection(only=("d", "a")), "ad"),
        (Selection(from_=("b",)), "bd"),
        (Selection(until=("b",)), "ab"),
        (Selection(from_=("a",), until=("c",)), "ac"),
        (Selection(from_=("c", "d")), "cd"),
    ],
)
def test_selection(selection: Selection, expected: str) -> None:
    # a → b → d, a → c
    pipe = pipeline(step("a", writes="x"), step("b", reads="x", writes="y"), step("c", reads="x"), step("d", reads="y"))
    found = planning.select(pipe, selection, planning.resolve(pipe, {}))
    assert "".join(sorted(found)) == expected


def test_an_unknown_step_is_an_error_with_a_suggestion(world: World) -> None:
    pipe = pipeline(*chain())
    with pytest.raises(UsageError, match="no step trian") as caught:
        world.plan(pipe, selection=Selection(only=("trian",)))
    assert caught.value.fix == "did you mean train?"
    with pytest.raises(UsageError) as caught:
        world.plan(pipe, selection=Selection(until=("zzz",)))
    assert caught.value.fix == "the steps are: load, clean, train"


def test_a_selection_without_a_step_is_an_error(world: World) -> None:
    pipe = pipeline(*chain())
    with pytest.raises(UsageError, match="--only load and --from train have no step in common"):
        world.plan(pipe, selection=Selection(only=("load",), from_=("train",)))
    with pytest.raises(UsageError, match="--only load, --from clean and --until train"):
        world.plan(pipe, selection=Selection(only=("load",), from_=("clean",), until=("train",)))


def test_skipped_steps_name_the_results_that_selected_ones_start_from(world: World) -> None:
    pipe = pipeline(*chain())
    only = Selection(only=("train",))
    plan = world.plan(pipe, selection=only)
    assert [planned.status.value for planned in plan.steps] == ["skipped", "skipped", "pending"]
    assert plan.steps[2].reason == "input `df` is not there: clean is not selected, and has no results to start from"
    world.run(pipe)
    plan = world.plan(pipe, selection=Selection(only=("train",), force=("train", "clean")))
    assert [planned.status.value for planned in plan.steps] == ["skipped", "skipped", "pending"]
    assert plan.steps[1].step_run is not None
    assert plan.steps[2].reason == "run again on request"


# --- the key -----------------------------------------------------------------------------------------------------

PARAMETERS = [Parameter("lr", "float", 0.1), Parameter("names", "list", ["a"])]


def parts(world: World, each: Step, inputs: Mapping[str, str] | None = None, **more: Any) -> Mapping[str, str]:
    pipe = pipeline(each, parameters=PARAMETERS)
    return planning.key(pipe.steps[0], world.context(pipe, **more), inputs or {}).parts


def test_the_parts_of_a_key(world: World) -> None:
    (world.root / "a.csv").write_text("1")
    found = parts(
        world,
        step(
            "train",
            cells=(code("x", "cell 1"), code("y", "cell 2")),
            carried=(code("s", "setup 1", "setup"), symbol("def f(): 0", "f")),
            parameters=("lr", "names"),
            options={"reads": ("a.csv", "b*.csv"), "cache_version": "2", "each": "names", "seed": 7},
        ),
        {"df": "fp"},
    )
    digests = {name: value for name, value in found.items() if name.startswith("code/")}
    assert set(digests) == {"code/cell 1", "code/cell 2", "code/setup 1", "code/f", "code/order"}
    assert {name: value for name, value in found.items() if name not in digests} == {
        "parameters/lr": "0.1",
        "parameters/names": '["a"]',
        "inputs/df": "fp",
        "files/a.csv": fingerprint.file(str(world.root / "a.csv")),
        "files/b*.csv": "missing",
        "environment/python": "cpython {}.{}".format(*sys.version_info[:2]),
        "options/cache-version": "2",
        "options/each": "names",
        "options/seed": "7",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        ([1, 2], [2, 1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (None, "null"),
        ("x" * 300, "x" * 301),
    ],
)
def test_parameter_values_that_differ_for_python_differ_in_the_key(world: World, one: Any, other: Any) -> None:
    each = step("a", parameters=("lr",))
    assert parts(world, each, parameters={"lr": one}) != parts(world, each, parameters={"lr": other})


def test_a_parameter_that_the_step_cannot_reach_is_no_part(world: World) -> None:
    assert parts(world, step("a", parameters=("lr",)), parameters={"names": []}) == parts(
        world, step("a", parameters=("lr",))
    )


def test_a_value_that_cannot_be_written_down_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="parameter lr"):
        parts(world, step("a", parameters=("lr",)), parameters={"lr": object()})
    with pytest.raises(UsageError, match="parameter zz has no value"):
        parts(world, step("a", parameters=("zz",)))


@given(st.data())
def test_the_key_changes_exactly_when_a_part_changes(data: st.DataObject) -> None:
    texts = st.text(st.characters(codec="utf-8"), max_size=6)
    one = data.draw(st.dictionaries(texts, texts, max_size=5))
    other = data.draw(st.one_of(st.just(dict(reversed(one.items()))), st.dictionaries(texts, texts, max_size=5)))
    assert (fingerprint.key(one).digest == fingerprint.key(other).digest) is (one == other)


def test_seeds(world: World) -> None:
    def seed(name: str, **more: Any) -> int:
        each = step(name, options=more.pop("options", {}))
        return planning.seed(each, world.context(pipeline(each), **more))

    assert seed("a") == seed("a")
    assert len({seed("a"), seed("b"), seed("a", seed=1), seed("b", seed=1)}) == 4
    assert seed("a", options={"seed": 5}) == seed("b", options={"seed": 5}, seed=9) == 5
    assert seed("a", options={"seed": "own"}) == seed("a")
    assert 0 <= seed("a") < 2**32  # what numpy takes


# --- reasons -----------------------------------------------------------------------------------------------------


def edit(name: str, **fields: Any) -> tuple[str, Any]:
    return name, lambda each: replace(each, **fields)


BASE = step(
    "train",
    cells=(code("fit(df)", "cell 1"), code("m = 1", "cell 2")),
    carried=(
        code("set()", "setup 1", "setup"),
        symbol("import numpy", "numpy"),
        symbol("# doubles\ndef double(x):\n    return 2 * x", "double"),
        symbol("class Net: ...", "Net"),
        symbol("K = 3", "K"),
    ),
    reads="df",
    writes="m",
    parameters=("lr",),
)


def carried(index: int, source: str) -> Step:
    pieces = list(BASE.carried)
    pieces[index] = replace(pieces[index], source=source, fingerprint=fingerprint.text("test", source))
    return replace(BASE, carried=tuple(pieces))


@pytest.mark.parametrize(
    ("edited", "reason"),
    [
        (replace(BASE, cells=(BASE.cells[0], code("m = 2", "cell 2"))), "cell 2 changed"),
        (replace(BASE, cells=(*BASE.cells, code("m = 2", "cell 3"))), "cell 3 is new"),
        (replace(BASE, cells=BASE.cells[:1]), "cell 2 is gone"),
        (carried(0, "set(2)"), "setup cell 1 changed"),
        (carried(1, "import numpy as numpy"), "import `numpy` changed"),
        (carried(2, "def double(x):\n    return x + x"), "helper `double` changed"),
        (carried(3, "class Net(dict): ..."), "class `Net` changed"),
        (carried(4, "K = 4"), "constant `K` changed"),
        (replace(BASE, carried=BASE.carried[:4]), "constant `K` is no longer used"),
        (replace(BASE, carried=BASE.carried[::-1]), "the order of shared definitions changed"),
        (replace(BASE, options=replace(BASE.options, seed=5)), "seed: {seed} → 5"),
        (replace(BASE, options=replace(BASE.options, cache_version="2")), "cache version is new"),
        (replace(BASE, options=replace(BASE.options, reads=("data.csv",))), "file data.csv is missing"),
    ],
)  # fmt: skip
def test_reasons_are_in_the_words_of_the_author(world: World, edited: Step, reason: str) -> None:
    load = step("load", "df = 1", "", "df")
    parameters = [Parameter("lr", "float", 0.1)]
    pipe = pipeline(load, BASE, parameters=parameters)
    world.run(pipe)
    seed = planning.seed(BASE, world.context(pipe))
    planned = world.plan(pipeline(load, edited, parameters=parameters)).steps[1]
    assert planned.status is Status.PENDING
    assert planned.reason == reason.format(seed=seed)
    assert planned.seconds == 2.5


def test_reasons_name_parameters_inputs_and_renamed_steps(world: World) -> None:
    load, clean, train = chain()
    parameters = [Parameter("lr", "float", 0.1)]
    train = replace(train, parameters=("lr",))
    pipe = pipeline(load, clean, train, parameters=parameters)
    world.run(pipe)
    assert world.reason(pipe, "train", parameters={"lr": 0.2}) == "parameter lr: 0.1 → 0.2"
    long = {"lr": list(range(300))}
    assert world.reason(pipe, "train", parameters=long) == "parameter lr changed"
    renamed = pipeline(load, clean, replace(train, name="fit"), parameters=parameters)
    assert world.reason(renamed, "fit") == "never run under this name"
    assert world.reason(pipeline(load, clean, step("new", "9", "df"), parameters=parameters), "new") == "never run"
    both = pipeline(load, clean, replace(train, cells=(code("m = 0"),)), parameters=parameters)
    assert world.reason(both, "train", parameters={"lr": 0.2}) == "cell 1 changed, parameter lr: 0.1 → 0.2"

    edited = pipeline(load, replace(clean, cells=(code("df = 9"),)), train, parameters=parameters)
    world.run(edited, {"df": "else"}, fail="clean")
    world.run(edited, {"df": "else"})
    context = world.context(pipe)
    planned = planning.decide(pipe.steps[2], context, {"df": artifact("df", "third")})
    assert planned.reason == "input `df` changed (from clean)"


def test_a_long_list_of_changes_is_cut(world: World) -> None:
    cells = tuple(code(f"x{number}", f"cell {number}") for number in range(1, 6))
    world.run(pipeline(step("a", cells=cells)))
    edited = tuple(code(f"y{number}", f"cell {number}") for number in range(1, 6))
    planned = world.plan(pipeline(step("a", cells=edited))).steps[0]
    assert planned.reason == "cell 1 changed, cell 2 changed, cell 3 changed, and 2 more changes"
    assert [change.part for change in planned.changes] == [f"code/cell {number}" for number in range(1, 6)]


def test_code_changes_come_with_a_diff(world: World) -> None:
    world.run(pipeline(step("a", "x = 1\ny = 2")))
    (change,) = world.plan(pipeline(step("a", "x = 1\ny = 3"))).steps[0].changes
    assert change.diff.splitlines() == [
        "--- cell 1 (last run)",
        "+++ cell 1 (now)",
        "@@ -1,2 +1,2 @@",
        " x = 1",
        "-y = 2",
        "+y = 3",
    ]


def test_changes_are_told_against_what_was_shown_last(world: World) -> None:
    pipe = pipeline(step("a", parameters=("lr",)), parameters=[Parameter("lr", "float", 0.1)])
    world.run(pipe)
    world.run(pipe, parameters={"lr": 0.2})
    world.run(pipe)  # reuses the first
    assert world.reason(pipe, "a", parameters={"lr": 0.3}) == "parameter lr: 0.1 → 0.3"


def test_another_notebook_reuses_the_same_step(world: World) -> None:
    pipe = pipeline(step("a", "x = 1", "", "x", outputs=("x",)))
    world.run(pipe)
    assert world.statuses(replace(pipe, source="copy.ipynb")) == "c"


def test_texts_with_half_a_surrogate_pair_do_no_harm(world: World) -> None:
    pipe = pipeline(step("a", "x = '\ud800'", parameters=("s",)), parameters=[Parameter("s", "str", "\udc80")])
    world.run(pipe)
    assert world.statuses(pipe) == "c"
    assert "\udcff" not in world.reason(pipe, "a", parameters={"s": "ab"})


def test_planning_imports_little() -> None:
    script = """
        import sys
        import cellway.ledger, cellway.planning, cellway.parameters
        print(*sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = "nbformat papermill pyarrow pandas numpy IPython rich yaml asyncio subprocess glob difflib blake3 socket"
    assert loaded & {*heavy.split(), "importlib.metadata"} == set()
