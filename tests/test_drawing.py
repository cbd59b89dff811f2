"""Pictures of pipelines: the same graph as text, SVG and Mermaid."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellway.drawing import draw, edges
from cellway.records import Pipeline, Status, Step

SVG = "{http://www.w3.org/2000/svg}"


def pipeline(**inputs: dict[str, str] | tuple[str, ...]) -> Pipeline:
    """Steps by name, each with ``name → provider``, or with the steps it is to run after."""
    steps = []
    for position, (name, given_) in enumerate(inputs.items()):
        handed = given_ if isinstance(given_, dict) else {}
        after = tuple(dict.fromkeys([*handed.values(), *(given_ if isinstance(given_, tuple) else ())]))
        steps.append(Step(name, position, (), inputs=handed, after=after))
    return Pipeline("case", "case.ipynb", None, "python", tuple(steps))


CHAIN = pipeline(load={}, clean={"df": "load"}, train={"df": "clean"})
FORK = pipeline(
    load={},
    clean={"df": "load"},
    forest={"df": "clean"},
    linear={"df": "clean"},
    compare={"a": "forest", "b": "linear"},
    report={"df": "clean", "best": "compare"},
)

TEXTS = {
    "one step": (pipeline(load={}), "load  ●"),
    "chain": (
        CHAIN,
        """\
load   ●
clean  └─●    df ← load
train    └─●  df ← clean""",
    ),
    "fork and join, and a long way": (
        FORK,
        """\
load     ●
clean    └─●        df ← load
forest     ├─●      df ← clean
linear     ├─│─●    df ← clean
compare    │ └─┴─●  a ← forest, b ← linear
report     └─────┴─●  df ← clean, best ← compare""",
    ),
    "a rail that ended is used again": (
        pipeline(a={}, b={"x": "a"}, c={}, d={"y": "c"}),
        """\
a  ●
b  └─●  x ← a
c  ●
d  └─●  y ← c""",
    ),
    "order without data": (
        pipeline(a={}, b=("a",)),
        """\
a  ●
b  └─●  after ← a""",
    ),
    "nothing": (pipeline(), ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name):
    drawn, expected = TEXTS[name]
    lines = [re.sub(r" {2,}", "  ", line) for line in expected.splitlines()]
    assert [re.sub(r" {2,}", "  ", line) for line in draw(drawn).splitlines()] == lines


def test_text_marks_states_and_shows_notes_instead_of_names():
    text = draw(CHAIN, states={"load": Status.CACHED, "clean": Status.FAILED}, notes={"clean": "it broke"})
    assert text.splitlines() == ["load   ●", "clean  └─✗    it broke", "train    └─○  df ← clean"]


def test_mermaid():
    assert draw(CHAIN, "mermaid", states={"train": Status.FAILED}).splitlines() == [
        "flowchart LR",
        '  s0["load"]',
        '  s1["clean"]',
        '  s2["train"]',
        '  s0 -->|"df"| s1',
        '  s1 -->|"df"| s2',
        "  class s2 failed",
        "  classDef failed fill:#ffebe9,stroke:#cf222e,color:#1f2328",
    ]


def test_mermaid_draws_an_order_without_data_dotted():
    assert "  s0 -.-> s1" in draw(pipeline(a={}, b=("a",)), "mermaid").splitlines()


def test_texts_in_pictures_are_escaped():
    drawn = pipeline(a={}, b={"x": "a"})
    notes = {"b": 'a < b & "c"'}
    ElementTree.fromstring(draw(drawn, "svg", notes=notes))
    assert "a < b" not in draw(drawn, "mermaid", notes=notes)


def test_unknown_format():
    with pytest.raises(ValueError, match="use one of text, svg, mermaid"):
        draw(CHAIN, "png")


def test_edges_are_in_notebook_order():
    assert edges(FORK)["compare"] == {"forest": ("a",), "linear": ("b",)}
    assert list(edges(FORK)["report"]) == ["clean", "compare"]


def test_svg_shows_states_names_and_what_is_handed_over():
    root = ElementTree.fromstring(draw(FORK, "svg", states={"load": Status.CACHED, "forest": Status.FAILED}))
    groups = {group.find(f"{SVG}text").text: group for group in root.findall(f"{SVG}g")}
    assert list(groups) == [step.name for step in FORK.steps]
    assert groups["load"].get("class") == "cw-cached"
    assert groups["forest"].get("class") == "cw-failed"
    assert groups["report"].find(f"{SVG}title").text == "report: df ← clean, best ← compare"
    assert root.get("aria-label") == "Pipeline case"


def test_svg_has_colours_for_light_and_dark_pages():
    assert "prefers-color-scheme: dark" in draw(CHAIN, "svg")


Box = tuple[float, float, float, float]


def boxes(root: ElementTree.Element) -> dict[str, Box]:
    """Step → left, top, right, bottom."""
    found = {}
    for group in root.findall(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        found[group.find(f"{SVG}text").text] = (x, y, x + w, y + h)
    return found


def level_lines(root: ElementTree.Element) -> list[Box]:
    """Where lines pass a column of steps: the straight pieces of the paths."""
    found = []
    for path in root.findall(f"{SVG}path"):
        for x0, y0, x1, _ in re.findall(r"([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", path.get("d").replace(" L", "L")):
            found.append((float(x0), float(y0), float(x1), float(y0)))
    return found


@st.composite
def graphs(random):
    """Pipelines of up to twelve steps, each taking from some of the earlier ones."""
    count = random(st.integers(1, 12))
    inputs = {}
    for i in range(count):
        providers = random(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        inputs[f"s{i}"] = {f"x{p}": f"s{p}" for p in sorted(providers)}
    return pipeline(**inputs)


@given(graphs())
def test_svg_draws_steps_apart_and_lines_around_them(drawn):
    root = ElementTree.fromstring(draw(drawn, "svg"))
    found = boxes(root)
    width, height = float(root.get("width")), float(root.get("height"))
    for left, top, right, bottom in found.values():
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for one, other in combinations(found.values(), 2):
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart, (one, other)
    for step in drawn.steps:
        for provider in step.inputs.values():
            assert found[provider][2] < found[step.name][0], "data flow from left to right"
    for x0, y, x1, _ in level_lines(root):
        for left, top, right, bottom in found.values():
            assert x1 <= left or x0 >= right or not top < y < bottom, "a line runs behind a step"


@given(graphs())
def test_the_three_pictures_show_the_same_edges(drawn):
    wanted = {(provider, step.name) for step in drawn.steps for provider in step.inputs.values()}
    mermaid = draw(drawn, "mermaid")
    names = dict(re.findall(r"^  (s\d+)\[\"(\w+)\"", mermaid, re.MULTILINE))
    assert {
        (names[a], names[b]) for a, b in re.findall(r"^  (s\d+) --[^ ]*?.*? (s\d+)$", mermaid, re.MULTILINE)
    } == wanted
    assert draw(drawn, "svg").count('class="cw-edge') == len(wanted)
    notes = {line.split()[0]: line for line in draw(drawn).splitlines()}
    for provider, name in wanted:
        assert f"← {provider}" in notes[name]
