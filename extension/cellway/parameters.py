"""Parameter values of a run: given ones, checked against the notebook's, over the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cellway.errors import UsageError

if TYPE_CHECKING:
    from cellway.records import Parameter, Pipeline

_ARTICLES = {
    "int": "an int",
    "float": "a float",
    "str": "a text",
    "bool": "a bool (true or false)",
    "list": "a list such as [1, 2]",
    "dict": 'a dict such as {"a": 1}',
}
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NONE = frozenset({"none", "null", "~"})
_NOT_PARSED = object()


def check(pipeline: Pipeline, given: Mapping[str, Any], *, texts: bool = False) -> Mapping[str, Any]:
    """The value of every parameter of a pipeline.

    Args:
        pipeline: names, types, defaults.
        given: values of some of them. A text is read as the parameter's type (``"0.2"`` for a float).
        texts: every given value was typed by someone (``-p lr=0.2``): then a text for a parameter without a type is
            read, too (``"5"`` as 5), else it stays a text.

    Returns:
        In the notebook's order.

    Raises:
        UsageError: a name that is no parameter, or a value of another type.
    """
    known = {parameter.name: parameter for parameter in pipeline.parameters}
    for name in given:
        if name not in known:
            raise _unknown(name, list(known))
    return {
        name: convert(parameter, given[name], texts=texts) if name in given else parameter.default
        for name, parameter in known.items()
    }


def convert(parameter: Parameter, value: Any, *, texts: bool = False) -> Any:
    """One value as the parameter's type.

    An int is taken for a float; otherwise nothing is converted that is not a text.

    Raises:
        UsageError: it is of another type, or not among the choices.
    """
    if parameter.choices:
        return _chosen(parameter, value)
    kind = parameter.type
    parsed = value
    if isinstance(value, str):
        if parameter.optional and kind != "str" and value.lower() in _NONE:
            return None
        if kind not in {"str", None} or (kind is None and texts):
            parsed = _parse(value, kind)
    if parsed is None and (parameter.optional or kind is None):
        return None
    if kind == "float" and type(parsed) is int:
        parsed = float(parsed)
    if parsed is _NOT_PARSED or not _is(parsed, kind):
        expected = _ARTICLES.get(kind or "", str(kind)) + (" or None" if parameter.optional else "")
        raise UsageError(f"parameter {parameter.name}: expected {expected}, got {value!r}", name=parameter.name)
    if not _plain(parsed):
        raise UsageError(
            f"parameter {parameter.name}: {value!r} cannot be written into a notebook",
            name=parameter.name,
            fix="use numbers, texts, booleans, None, and lists and dictionaries of these",
        )
    return parsed


def _parse(text: str, kind: str | None) -> Any:
    """A text as a value of a type, or as whatever it looks like if there is none."""
    if kind == "bool":
        return _WORDS.get(text.strip().lower(), _NOT_PARSED)
    if kind in {"int", "float"}:
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            return _NOT_PARSED
    try:
        return json.loads(text)
    except ValueError:
        pass
    if kind is None:
        lowered = text.strip().lower()
        return None if lowered in _NONE else {"true": True, "false": False}.get(lowered, text)
    return _yaml(text)


def _yaml(text: str) -> Any:
    """``[a, b]`` and ``{a: 1}``, which are easier to type in a shell than JSON."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return _NOT_PARSED


def _is(value: Any, kind: str | None) -> bool:
    if kind is None:
        return True
    kinds = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}
    return kind not in kinds or type(value) is kinds[kind]


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str)


def _chosen(parameter: Parameter, value: Any) -> Any:
    for choice in parameter.choices:
        if (type(value) is type(choice) and value == choice) or (isinstance(value, str) and value == str(choice)):
            return choice
    if value is None and parameter.optional:
        return None
    if isinstance(value, str) and parameter.optional and value.lower() in _NONE:
        return None
    shown = ", ".join(map(repr, parameter.choices))
    raise UsageError(f"parameter {parameter.name}: expected one of {shown}, got {value!r}", name=parameter.name)


def _unknown(name: str, names: list[str]) -> UsageError:
    import difflib

    close = difflib.get_close_matches(name, names, 1)
    if close:
        hint = f"did you mean {close[0]}?"
    elif names:
        hint = f"the parameters are: {', '.join(names)}"
    else:
        hint = "the notebook has no parameters cell: tag one with %%parameters"
    return UsageError(f"there is no parameter {name}", name=name, fix=hint)
