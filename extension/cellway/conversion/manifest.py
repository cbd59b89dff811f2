"""``pipeline.yaml``: the pipeline in words, next to its step notebooks (docs/reference/pipeline-yaml.md).

Written with sorted-out defaults: what is empty or as usual is left out. Its last line carries the digest of the lines
above, by which an edit by hand is noticed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cellway import fingerprint
from cellway.errors import UsageError
from cellway.records import Parameter, Pipeline, Step, StepOptions, Test

NAME = "pipeline.yaml"
FORMAT = 1

_HEAD = """\
# The pipeline in words; its code is in the step notebooks. Written by `cellway convert`.
# Run it with `cellway run` and this folder. What may be edited is said in README.md.
"""
_FIELDS = {
    "format", "name", "source", "kernel", "language", "python", "environment", "workdir", "handover", "seeded",
    "standalone", "parameters", "steps", "tests", "files",
}  # fmt: skip
_SEAL = "# digest of the lines above: "


def manifest(
    pipeline: Pipeline,
    notebooks: Mapping[str, str],
    *,
    files: Mapping[str, str],
    workdir: str,
    standalone: bool,
    handover: str,
    environment: str,
    python: str,
) -> dict[str, Any]:
    """What ``pipeline.yaml`` says.

    Args:
        pipeline: the pipeline.
        notebooks: step → file name of its notebook.
        files: path in the folder → digest, of everything that cellway wrote there but ``pipeline.yaml``.
        workdir: folder in which the steps run, relative to the folder.
        standalone: whether the folder runs without cellway.
        handover: papermill parameter that names the hand-over folder.
        environment: file with the distributions, ``""`` if none was written.
        python: version of the kernel's Python, ``""`` if it is not known.
    """
    said: dict[str, Any] = {
        "format": FORMAT,
        "name": pipeline.name,
        "source": Path(pipeline.source).name,
        "kernel": pipeline.kernel,
        "language": pipeline.language,
        "python": python,
        "environment": environment,
        "workdir": workdir,
        "handover": handover,
        "seeded": pipeline.seeded,
        "standalone": standalone,
        "parameters": [_parameter(parameter) for parameter in pipeline.parameters],
        "steps": [_step(step, notebooks[step.name]) for step in pipeline.steps],
        "tests": [_test(test) for test in pipeline.tests],
        "files": dict(files),
    }
    return {name: value for name, value in said.items() if value not in ("", None, [], {})}


def text(said: Mapping[str, Any]) -> str:
    """A manifest as YAML: blocks, in the order of the fields, the same bytes for the same pipeline."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Multi-line texts as literal blocks, lists set in by two."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    def represent(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, represent)
    Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
    body = yaml.dump(
        dict(said), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    body = re.sub(r"^(?=(?:parameters|steps|tests|files):$)", "\n", body, flags=re.MULTILINE)
    return sealed(f"{_HEAD}\n{body}")


def sealed(above: str) -> str:
    """A text with its digest as last line."""
    return f"{above}\n{_SEAL}{fingerprint.text('sealed', above)[:16]}\n"


def is_sealed(written: str) -> bool:
    """Whether a text is as :func:`sealed` left it."""
    above, seal, _ = written.replace("\r\n", "\n").rpartition(f"\n{_SEAL}")
    return bool(seal) and sealed(above) == written.replace("\r\n", "\n")


def load(folder: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        UsageError: there is none, or it cannot be read, or it is of a newer format.
    """
    import yaml

    path = folder / NAME
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} is no converted pipeline: it has no {NAME}",
            name=str(folder),
            fix="name a notebook, or a folder written by `cellway convert`",
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", name=str(path), fix="mend it, or convert the notebook again"
        ) from None
    if not isinstance(said, dict) or not isinstance(said.get("format"), int):
        raise UsageError(f"{path} is not a pipeline.yaml of cellway", name=str(path), fix="name another folder")
    if said["format"] > FORMAT:
        raise UsageError(
            f"{path} is of format {said['format']}, this cellway reads up to {FORMAT}",
            name=str(path),
            fix="upgrade cellway",
        )
    _check(said, "pipeline", _FIELDS, {"name", "steps"})
    for field, kind in (("parameters", list), ("steps", list), ("tests", list), ("files", dict)):
        if not isinstance(said.setdefault(field, kind()), kind):
            raise UsageError(f"{path}: {field!r} is not a {kind.__name__}", name=field, fix="mend it by hand")
    return said


def parameters(said: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The parameters of a manifest.

    Raises:
        UsageError: a field is missing or unknown, or a default is not of its type.
    """
    fields = {field.name: field.default for field in dataclasses.fields(Parameter)}
    found = []
    for entry in said["parameters"]:
        _check(entry, "parameter", {*fields}, {"name", "default"})
        values = dict(entry)
        values["choices"] = tuple(values.get("choices", ()))
        values.setdefault("type", None)
        _check_parameter(values)
        found.append(Parameter(**values))
    return tuple(found)


_STEP_FIELDS = {
    "name", "notebook", "after", "options", "parameters", "inputs", "outputs", "optional", "reads", "writes",
    "may_change", "later", "deletes", "draws",
}  # fmt: skip
DERIVED = ("after", "parameters", "inputs", "outputs", "optional", "reads", "writes", "may_change", "later", "deletes")
"""Fields of a step that follow from its cells: written for readers and other tools, not read back."""


def options(entry: Mapping[str, Any]) -> StepOptions:
    """The options of a step's entry.

    Raises:
        UsageError: a field is missing or unknown, or an option's value is not of its type.
    """
    _check(entry, "step", _STEP_FIELDS, {"name", "notebook"})
    values = entry.get("options") or {}
    known = {field.name: field for field in dataclasses.fields(StepOptions)}
    _check(values, f"option of step {entry['name']}", {*known}, set())
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    for name, value in given.items():
        expected = _OPTION_KINDS.get(str(known[name].type).removesuffix(" | None"))
        if expected is not None and value is not None and not expected[1](value):
            raise UsageError(
                f"{NAME}: option {name!r} of step {entry['name']} is {value!r}, and {expected[0]} is expected",
                name=name,
                fix="mend it by hand, or convert the notebook again",
            )
    return StepOptions(**given)


_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (float, int), "str": (str,), "bool": (bool,), "list": (list,), "dict": (dict,)
}  # fmt: skip
_OPTION_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "tuple[str, ...]": ("a list of texts", lambda v: isinstance(v, tuple) and all(isinstance(i, str) for i in v)),
    "str": ("a text", lambda v: isinstance(v, str)),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "int": ("a whole number from 0 on", lambda v: type(v) is int and v >= 0),
    "float": ("a number above 0", lambda v: type(v) in {int, float} and 0 < v < 1e18),
    "int | str": ("a whole number from 0 on, or own,", lambda v: v == "own" or (type(v) is int and v >= 0)),
}
"""Type of a field of ``StepOptions`` → what is expected in words, and whether a value is that."""


def _check_parameter(values: Mapping[str, Any]) -> None:
    """Whether type, default and choices of an entry fit together."""
    name, kind, default = values["name"], values["type"], values["default"]
    fix = ""
    if kind is not None and kind not in _KINDS:
        wrong, fix = f"there is no type {kind!r}", f"one of {', '.join(_KINDS)}"
    elif default is None:
        wrong = "" if kind is None or values.get("optional") else f"its default is missing, and it is of type {kind}"
        fix = "give it a default, or add `optional: true`"
    elif not _is_of(default, kind):
        wrong = f"its default {default!r} is not of type {kind}" if kind else f"{default!r} is no value for a parameter"
        fix = "numbers, texts, true, false, lists and mappings are; a text that looks like something else needs quotes"
    elif values["choices"] and default not in values["choices"]:
        wrong, fix = f"its default {default!r} is not among its choices", "choose another default"
    else:
        wrong = ""
    if wrong:
        raise UsageError(f"{NAME}: parameter {name}: {wrong}", name=str(name), fix=fix)


def _is_of(value: Any, kind: str | None) -> bool:
    """Whether a value of YAML is of a parameter's type, and can be written into a notebook."""
    if kind is not None and (not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool")):
        return False
    if isinstance(value, list):
        return all(_is_of(item, None) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_of(item, None) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def derived(step: Step) -> dict[str, Any]:
    """What an entry says about a step beside its name, notebook and options."""
    said: dict[str, Any] = {field: getattr(step, field) for field in DERIVED}
    own = {*step.reads, *step.writes, *step.optional}
    said["later"] = [name for name in step.later if name in own]
    said = {field: dict(value) if isinstance(value, Mapping) else list(value) for field, value in said.items() if value}
    if step.draws:
        said["draws"] = True
    return said


def _parameter(parameter: Parameter) -> dict[str, Any]:
    said: dict[str, Any] = {"name": parameter.name, "type": parameter.type, "default": parameter.default}
    said |= {"help": parameter.help, "choices": list(parameter.choices), "optional": parameter.optional}
    usual: dict[str, Any] = {"type": None, "help": "", "choices": [], "optional": False}
    said = {k: v for k, v in said.items() if k not in usual or v != usual[k]}
    return {**said, "cell": parameter.cell, "line": parameter.line}


def _step(step: Step, notebook: str) -> dict[str, Any]:
    chosen = {}
    for field in dataclasses.fields(StepOptions):
        value = getattr(step.options, field.name)
        if value != field.default:
            chosen[field.name] = list(value) if isinstance(value, tuple) else value
    said: dict[str, Any] = {"name": step.name, "notebook": notebook}
    if chosen:
        said["options"] = chosen
    return said | derived(step)


def _test(test: Test) -> dict[str, Any]:
    return {"step": test.step, "cell": test.code.cell, "line": test.code.line, "source": test.code.source}


def _check(entry: Any, what: str, known: set[str], needed: set[str]) -> None:
    if not isinstance(entry, dict):
        raise UsageError(f"{NAME}: a {what} is not a mapping: {entry!r}", fix="mend it by hand")
    name = str(entry.get("name", ""))
    for field in entry:
        if field not in known:
            raise UsageError(
                f"{NAME}: {what} {name} has an unknown field {field!r}",
                name=str(field),
                fix=_nearest(str(field), known),
            )
    for field in sorted(needed - entry.keys()):
        raise UsageError(f"{NAME}: {what} {name} has no {field!r}", name=field, fix="add it")


def _nearest(word: str, known: set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
