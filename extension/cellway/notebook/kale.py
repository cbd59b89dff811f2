"""Notebooks tagged for Kale, with Kale's meaning.

The tag language is the one of Kale 2 (github.com/kubeflow/kale, ``processors``): an untagged cell joins the block above
it, ``imports`` and ``functions`` run in every step, ``pipeline-metrics`` ends the notebook. What Kale asks of
Kubernetes and cellway has no word for is left out with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cellway.errors import Place, TagError
from cellway.notebook.grammar import Marking, Setting, merge
from cellway.notebook.options import OPTIONS, read_value
from cellway.notebook.raw import RawCell
from cellway.records import Role

METRICS = "pipeline-metrics"
"""Tag of the metrics cell, and the name of the step that it becomes."""

_SPECIAL = {
    "skip": Role.SKIP,
    "imports": Role.SETUP,
    "functions": Role.SETUP,
    "pipeline-parameters": Role.PARAMETERS,
    METRICS: Role.STEP,
}
_NAME = re.compile(r"[_a-z][_a-z0-9]*")
_METRIC = re.compile(r"^(?:print\(\s*)?([A-Za-z_]\w*)\s*\)?\s*(?:#.*)?$", re.MULTILINE)
_STRONG = ("pipeline-parameters", METRICS)
_OWN = {"parameters", "setup", "no-cache"}


def applies(raw: Sequence[RawCell], has_magics: bool, warnings: list[str]) -> bool:
    """Whether a notebook's tags are Kale's.

    Args:
        raw: the cells.
        has_magics: whether any cell has a magic of cellway.
        warnings: tags that could be Kale's in a notebook that is tagged for cellway are noted here.

    Raises:
        TagError: both languages are used.
    """
    tags = [(tag, index) for index, cell in enumerate(raw) if cell.kind == "code" for tag in cell.tags]
    strong = [(tag, index) for tag, index in tags if tag in _STRONG or tag.startswith(("block:", "prev:"))]
    weak = [(tag, index) for tag, index in tags if tag in {"imports", "functions"}]
    if not strong and not weak:
        return False
    own = has_magics or any(tag in _OWN or tag.partition(":")[0] in {"test", *OPTIONS} for tag, _ in tags)
    if strong and own:
        tag, index = strong[0]
        raise TagError(
            f"`{tag}` is a tag of Kale, and other cells are tagged for cellway",
            place=Place(index, None, raw[index].source.split("\n", 1)[0]),
            name=tag,
            fix="use one of the two: `parameters` for `pipeline-parameters`, `setup` for `imports` and `functions`, "
            "`after:` for `prev:`, `step:` for `block:`",
        )
    if own:
        warnings.extend(f"cell {index + 1}: the tag `{tag}` has no meaning for cellway" for tag, index in weak)
        return False
    return bool(strong) or any(tag.startswith("step:") for tag, _ in tags)


def markings(raw: Sequence[RawCell], warnings: list[str]) -> list[Marking | None]:
    """What each cell is for.

    Raises:
        TagError: the tags say something that cellway cannot do, or that Kale refuses too.
    """
    result: list[Marking | None] = []
    above: Marking | None = None
    steps: list[str] = []
    for index, cell in enumerate(raw):
        if cell.kind != "code":
            result.append(None)
            continue
        marking = _marking(cell, index, above, steps, warnings)
        result.append(marking)
        if marking is None:
            if cell.source.strip():
                warnings.append(f"cell {index + 1} stands above the first tagged cell; like Kale, no step runs it")
        elif marking.role != Role.SKIP:
            above = Marking(marking.role, marking.step, {}, marking.words, marking.place)
            if marking.role == Role.STEP and marking.step and marking.step not in steps:
                steps.append(marking.step)
    return result


def _marking(
    cell: RawCell, index: int, above: Marking | None, steps: Sequence[str], warnings: list[str]
) -> Marking | None:
    place = Place(index, None, next((line for line in cell.source.split("\n") if line.strip()), ""))
    special = next((tag for tag in cell.tags if tag in _SPECIAL), None)
    if special:
        return _special(special, cell, place, steps, warnings)
    names, given = _tags(cell.tags, place, warnings)
    if len(names) > 1:
        raise TagError(f"a cell of two steps: {', '.join(names)}", place=place, fix="keep one of the tags")
    if not names:
        if given:
            raise TagError(
                "the tags belong to a step, and this cell names none", place=place, fix="add the tag `step:NAME`"
            )
        return above and Marking(above.role, above.step, {}, above.words, Place(index, None, place.excerpt, above.step))
    if above and above.step == METRICS:
        raise TagError(
            "a step below the `pipeline-metrics` cell", place=place, name=names[0], fix="move the metrics to the end"
        )
    place.step = names[0]
    return Marking(Role.STEP, names[0], given, f"step:{names[0]}", place)


def _special(tag: str, cell: RawCell, place: Place, steps: Sequence[str], warnings: list[str]) -> Marking:
    role = _SPECIAL[tag]
    if tag != METRICS:
        return Marking(role, None, {}, tag, place)
    place.step = METRICS
    names = tuple(dict.fromkeys(_METRIC.findall(cell.source)))
    if not names:
        warnings.append(f"cell {(place.cell or 0) + 1}: `pipeline-metrics` prints no variable, so there are no metrics")
    others = tuple(step for step in steps if step != METRICS)
    given = {"metrics": Setting(names, place), "after": Setting(others, place)}
    return Marking(role, METRICS, {name: setting for name, setting in given.items() if setting.value}, tag, place)


def _tags(tags: Sequence[str], place: Place, warnings: list[str]) -> tuple[list[str], dict[str, Setting]]:
    names: list[str] = []
    given: dict[str, Setting] = {}
    for tag in tags:
        kind, colon, value = tag.partition(":")
        if kind in {"step", "block"} and colon:
            if value:
                names.append(_checked(value, tag, place))
            continue
        if kind == "notebook" and colon:
            raise TagError(
                f"`{tag}` refers to another notebook, which cellway does not run as a part of this one",
                place=place,
                name=tag,
                fix="convert that notebook on its own, or bring its cells here",
            )
        settings = _settings(kind, value, tag, place)
        if settings is None:
            warnings.append(f"cell {(place.cell or 0) + 1}: the tag `{tag}` has no meaning for cellway")
        else:
            given = merge(given, {name: Setting(value, place) for name, value in settings.items()})
    return names, given


def _settings(kind: str, value: str, tag: str, place: Place) -> dict[str, object] | None:
    """Options that a tag stands for, ``None`` if it has no meaning here."""
    if kind == "prev":
        return {"after": (_checked(value, tag, place),)} if value else {}
    if kind == "cache" and value in {"enabled", "disabled"}:
        return {"no_cache": True} if value == "disabled" else {}
    if kind != "limit":
        return None
    resource, _, amount = value.rpartition(":")
    if resource == "memory":
        return {"memory": read_value(OPTIONS["memory"], amount, tag, place)}
    if resource == "cpu":
        # Kubernetes counts thousandths of a processor: 500m is half of one.
        cpus = read_value(OPTIONS["cpus"], amount.removesuffix("m"), tag, place)
        return {"cpus": cpus / 1000 if amount.endswith("m") else cpus}
    if resource.endswith("/gpu"):
        return {"gpus": read_value(OPTIONS["gpus"], amount, tag, place)}
    return None


def _checked(name: str, tag: str, place: Place) -> str:
    if not _NAME.fullmatch(name):
        raise TagError(
            f"`{tag}`: in Kale the name of a step has lower-case letters, digits and `_`", place=place, name=name
        )
    return name
