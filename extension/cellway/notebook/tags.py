"""Raw cells to cells: roles and options from magics and tags, checked over the whole notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cellway import fingerprint
from cellway.errors import Place, TagError
from cellway.notebook import kale
from cellway.notebook.grammar import (
    NAMED,
    ROLES,
    MagicLine,
    Marking,
    Setting,
    check_step_name,
    find_magic,
    merge,
    similar,
)
from cellway.notebook.options import OPTIONS, read_value
from cellway.notebook.raw import RawCell
from cellway.records import Cell, Role, StepOptions

INJECTED = "injected-parameters"
"""papermill's tag of the cell in which it puts the values of a run: the parameters that this notebook really had."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_OPTIONS = StepOptions()


def assign(raw: Sequence[RawCell], warnings: list[str]) -> tuple[Cell, ...]:
    """Cells with their roles.

    Args:
        raw: cells in order.
        warnings: what is noticed and not refused is added here.

    Raises:
        TagError: a magic, tag or option is wrong, or two of them contradict each other.
    """
    lines = [find_magic(cell.source, index) if cell.kind == "code" else None for index, cell in enumerate(raw)]
    if kale.applies(raw, any(lines), warnings):
        markings = kale.markings(raw, warnings)
    else:
        markings = [
            _marking(cell, index, line, warnings) for index, (cell, line) in enumerate(zip(raw, lines, strict=True))
        ]
    _check_names(markings)
    _check_references(markings)
    options = _merged(markings)
    ids = _ids(raw, warnings)
    return tuple(
        _cell(cell, index, ids[index], markings[index], lines[index], options) for index, cell in enumerate(raw)
    )


def _cell(
    raw: RawCell,
    index: int,
    cell_id: str,
    marking: Marking | None,
    line: MagicLine | None,
    options: dict[str, StepOptions],
) -> Cell:
    offset = line.line + 1 if line else 0
    body = raw.source if not offset else "\n".join(raw.source.split("\n")[offset:])
    role = Role(marking.role) if marking else Role.EXPLORATION if raw.kind == "code" else Role.TEXT
    step = marking.step if marking else None
    return Cell(
        index=index,
        id=cell_id,
        kind=raw.kind,
        source=raw.source,
        body=body,
        offset=offset,
        role=role,
        step=step,
        options=options.get(step or "", _NO_OPTIONS) if role is Role.STEP else _NO_OPTIONS,
        tags=raw.tags,
    )


# --- one cell --------------------------------------------------------------------------------------------------------


def place_of(raw: RawCell, index: int, step: str | None = None) -> Place:
    """Where a cell is, when it is its tags that are spoken of."""
    first = next((line for line in raw.source.split("\n") if line.strip()), "")
    return Place(index, None, first, step)


def _marking(raw: RawCell, index: int, line: MagicLine | None, warnings: list[str]) -> Marking | None:
    if raw.kind != "code":
        _warn_about_text_cell(raw, index, warnings)
        return None
    if not line and raw.source.lstrip().startswith("%%"):
        _warn_about_magic(raw, index, warnings)
    tagged, given = _tagged(raw, index, warnings)
    marking = line.marking if line else tagged
    if marking is None:
        if given:
            name, setting = next(iter(given.items()))
            option = next(option for option in OPTIONS.values() if option.field == name)
            raise TagError(
                f"the tag `{option.name}` belongs to a step, and this cell is in none",
                place=setting.place,
                name=option.name,
                fix="add the tag `step:NAME`",
            )
        return None
    if line and tagged and (line.marking.role, line.marking.step) != (tagged.role, tagged.step):
        raise TagError(
            f"the magic says `{line.marking.words}`, the cell tag says `{tagged.words}`",
            place=line.marking.place,
            fix="remove one of them",
        )
    if given and marking.role != Role.STEP:
        raise TagError(
            f"options belong to a step, and this cell is `{marking.words}`",
            place=place_of(raw, index),
            fix="remove the option's tag",
        )
    place = Place(index, marking.place.line, marking.place.excerpt, marking.step)
    settings = {name: Setting(setting.value, place) for name, setting in given.items()}
    return Marking(marking.role, marking.step, merge(marking.given, settings), marking.words, place)


def _tagged(raw: RawCell, index: int, warnings: list[str]) -> tuple[Marking | None, dict[str, Setting]]:
    """Role and options that a cell's tags give."""
    place = place_of(raw, index)
    found: Marking | None = None
    given: dict[str, Setting] = {}
    unknown: list[str] = []
    for written in raw.tags:
        tag = written.strip()
        name, colon, value = tag.partition(":")
        option = OPTIONS.get(name)
        if option and (colon or not option.value):
            if bool(colon) is not bool(option.value):
                raise TagError(f"the tag `{tag}` takes no value", place=place, name=name, fix=f"`{name}`")
            given = merge(given, {option.field: Setting(read_value(option, value.strip(), tag, place), place)})
            continue
        role, step = _role(tag, place, index, warnings)
        if role is None:
            unknown.append(tag)
        elif found and (found.role, found.step) != (role, step):
            raise TagError(
                f"the tags `{found.words}` and `{tag}` contradict each other", place=place, fix="remove one of them"
            )
        else:
            found = Marking(role, step, {}, tag, Place(index, None, place.excerpt, step))
    for tag in unknown:
        _check_unknown(tag, place, bool(found), warnings)
    return found, given


def _role(tag: str, place: Place, index: int, warnings: list[str]) -> tuple[str | None, str | None]:
    name, colon, value = tag.partition(":")
    if tag == INJECTED:
        warnings.append(f"cell {index + 1} holds parameters that papermill put in; they count as parameters")
        return Role.PARAMETERS, None
    role = name if name in ROLES else None
    if role in NAMED:
        if colon:
            return role, check_step_name(value.strip(), place)
        if role == Role.TEST:
            # A word that other tools use too.
            warnings.append(f"cell {index + 1}: the tag `test` names no step and is left out; `test:STEP` does")
            return None, None
        raise TagError("the tag `step` needs a name", place=place, name=tag, fix="for example `step:train`")
    if role and colon:
        raise TagError(f"the tag `{name}` stands alone, without `:{value}`", place=place, name=tag, fix=f"`{name}`")
    return role, None


def _check_unknown(tag: str, place: Place, in_role: bool, warnings: list[str]) -> None:
    """Tags of other tools are none of our business; misspelt ones of ours are."""
    if tag in {"test", INJECTED}:
        return
    name, colon, value = tag.partition(":")
    known = {*ROLES, *OPTIONS}
    plain = name.strip().lower().replace("_", "-").removeprefix("--")
    meant = plain if plain in known else similar(plain, known, 0.8)
    where = f"cell {(place.cell or 0) + 1}"
    if colon and meant:
        if in_role or plain in known or meant in ROLES:
            raise TagError(f"`{tag}` is no tag", place=place, name=tag, fix=f"did you mean `{meant}:{value}`?")
    elif colon and in_role:
        warnings.append(f"{where}: the tag `{tag}` has no meaning for cellway")
    elif not colon and meant and (plain in known or similar(plain, ("parameters", "setup", "no-cache"), 0.85)):
        warnings.append(f"{where}: the tag `{tag}` has no meaning for cellway; did you mean `{meant}`?")


def _warn_about_text_cell(raw: RawCell, index: int, warnings: list[str]) -> None:
    ours = [tag for tag in raw.tags if (tag in ROLES and tag != "skip") or tag.startswith(("step:", "test:"))]
    warnings.extend(f"cell {index + 1}: the tag `{tag}` has no effect on a text cell" for tag in ours)
    if raw.source.startswith("%%") and re.match(rf"%%(?:{'|'.join(ROLES)})\b", raw.source):
        warnings.append(f"cell {index + 1} begins with a magic and is a text cell: make it a code cell?")


def _warn_about_magic(raw: RawCell, index: int, warnings: list[str]) -> None:
    word = raw.source.split(maxsplit=1)[0][2:]
    meant = similar(word, ROLES, 0.8) if not word.endswith("?") else None
    if meant:
        warnings.append(f"cell {index + 1}: `%%{word}` is no magic of cellway; did you mean `%%{meant}`?")


# --- the whole notebook ----------------------------------------------------------------------------------------------


def _check_names(markings: Iterable[Marking | None]) -> None:
    spelt: dict[str, Marking] = {}
    for marking in markings:
        if marking and marking.role == Role.STEP and marking.step:
            first = spelt.setdefault(marking.step.lower(), marking)
            if first.step != marking.step:
                raise TagError(
                    f"the steps `{first.step}` and `{marking.step}` differ only in case: some file systems ignore it",
                    place=marking.place,
                    name=marking.step,
                    fix=f"`{first.step}` if it is the same step, else another name",
                )


def _check_references(markings: Sequence[Marking | None]) -> None:
    """``--after`` and ``%%test`` name steps; ``--after`` names earlier ones."""
    steps: dict[str, int] = {}
    for index, marking in enumerate(markings):
        if marking and marking.role == Role.STEP and marking.step:
            steps.setdefault(marking.step, index)
    for marking in markings:
        if marking is None or marking.step is None:
            continue
        if marking.role == Role.TEST and marking.step not in steps:
            raise _unknown_step(f"`{marking.words}`", marking.step, steps, marking.place)
        after = marking.given.get("after")
        for name in after.value if after else ():
            if name not in steps:
                raise _unknown_step("`--after`", name, steps, marking.place)
            if name == marking.step:
                raise TagError(
                    f"step `{name}` cannot run after itself",
                    place=marking.place,
                    name=name,
                    fix="remove it from `--after`",
                )
            if steps[name] > steps[marking.step]:
                raise TagError(
                    f"`--after {name}`: that step comes later in the notebook",
                    place=marking.place,
                    name=name,
                    fix=f"move the cells of `{name}` above this one: a notebook is read from top to bottom",
                )


def _unknown_step(who: str, name: str, steps: Iterable[str], place: Place) -> TagError:
    meant = similar(name, steps)
    known = ", ".join(f"`{step}`" for step in steps)
    fix = f"did you mean `{meant}`?" if meant else f"the steps are {known}" if known else "no cell is tagged as a step"
    return TagError(f"{who} names the step `{name}`, which does not exist", place=place, name=name, fix=fix)


def _merged(markings: Iterable[Marking | None]) -> dict[str, StepOptions]:
    """Options of each step: those of its cells together."""
    given: dict[str, dict[str, Setting]] = {}
    for marking in markings:
        if marking and marking.role == Role.STEP and marking.step:
            given[marking.step] = merge(given.get(marking.step, {}), marking.given)
    return {
        step: StepOptions(**{name: setting.value for name, setting in settings.items()})
        for step, settings in given.items()
    }


def _ids(raw: Sequence[RawCell], warnings: list[str]) -> list[str]:
    """Ids of the cells; missing ones are made from the content and its place among equal ones, so that they stay."""
    taken = {cell.id for cell in raw if cell.id}
    seen: set[str] = set()
    counts: dict[tuple[str, str], int] = {}
    result = []
    for index, cell in enumerate(raw):
        name = cell.id
        if name is not None and (name in seen or not _ID.fullmatch(name)):
            what = "is that of an earlier cell too" if name in seen else "is not a valid one"
            warnings.append(f"cell {index + 1}: its id `{name}` {what}; another one is used")
            name = None
        content = (cell.kind, cell.source)
        counts[content] = counts.get(content, 0) + 1
        attempt = counts[content]
        while name is None:
            made = fingerprint.digest("cell id", *content, attempt)[:12]
            name = None if made in seen or made in taken else made
            attempt += 1
        seen.add(name)
        result.append(name)
    return result
