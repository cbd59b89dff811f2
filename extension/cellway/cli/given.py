"""Options of ``plan`` and ``run`` → parameters and selection, as :class:`cellway.project.Project` takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cellway.cli.parsing import Call, similar
from cellway.errors import UsageError

if TYPE_CHECKING:
    from cellway.cli.console import Console
    from cellway.planning import Selection
    from cellway.records import Parameter

PREFIX = "CELLWAY_PARAM_"


def selection(call: Call) -> Selection:
    """``--from``, ``--until``, ``--only`` and ``--no-cache``."""
    from cellway.planning import Selection

    force = call.listed("--no-cache") or (("*",) if call.flag("--no-cache") else ())
    return Selection(call.listed("--only"), call.listed("--from"), call.listed("--until"), force)


def parameters(call: Call, known: tuple[Parameter, ...], console: Console) -> dict[str, Any]:
    """Values from ``-p``, files and the environment, in this order of precedence.

    Args:
        known: parameters of the notebook: they say what type a text is meant to be.

    Raises:
        UsageError: an unknown parameter, a text that is not of its type, a file that cannot be read.
    """
    names = {parameter.name: parameter for parameter in known}
    values = _environment(names, console)
    for path in call.texts("--parameters"):
        for name, value in _file(path).items():
            _check(name, names, f"the file {path}")
            values[name] = value
    for text in call.texts("--parameter"):
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(
                f"`-p {text}`: NAME=VALUE is meant", name="-p", fix=f"for example `-p {name or 'n_trees'}=300`"
            )
        _check(name, names, f"`-p {text}`")
        values[name] = _typed(names[name], value, f"`-p {text}`")
    return values


def _check(name: str, names: Mapping[str, Parameter], where: str) -> None:
    if name in names:
        return
    meant = similar(name, names)
    has = (
        f"the parameters are {', '.join(f'`{known}`' for known in names)}" if names else "it has no `%%parameters` cell"
    )
    raise UsageError(
        f"{where}: the notebook has no parameter `{name}`", name=name, fix=f"did you mean `{meant}`?" if meant else has
    )


def _environment(names: Mapping[str, Parameter], console: Console) -> dict[str, Any]:
    """``CELLWAY_PARAM_N_TREES`` or ``CELLWAY_PARAM_n_trees``: the exact spelling wins."""
    values: dict[str, Any] = {}
    folded = {name.upper(): name for name in names}
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX):
            continue
        written = variable.removeprefix(PREFIX)
        name = written if written in names else folded.get(written.upper())
        if name is None:
            # Another notebook's, perhaps: the environment is shared. Misspelt ones are seen all the same.
            console.note(f"{variable} is set, and this notebook has no such parameter")
        elif name == written or name not in values:
            values[name] = _typed(names[name], os.environ[variable], variable)
    return values


def _typed(parameter: Parameter, text: str, where: str) -> Any:
    """A text as the parameter's type has it."""
    from cellway.parameters import convert

    try:
        return convert(parameter, text, texts=True)
    except UsageError as error:
        fix = error.fix or f"for example `-p {parameter.name}={_example(parameter)}`"
        raise UsageError(f"{where}: {error.message}", name=parameter.name, fix=fix) from None


def _example(parameter: Parameter) -> str:
    import json

    value = parameter.choices[0] if parameter.choices else parameter.default
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}'" if any(sign in text for sign in " \"'[]{}*$") else text


def _file(path: str) -> dict[str, Any]:
    """The mapping in a JSON, YAML or TOML file."""
    from pathlib import Path

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"the parameters file {path} cannot be read: {getattr(error, 'strerror', None) or error}",
            name=path,
            fix="give the path of a JSON, YAML or TOML file",
        ) from error
    value = _parsed(path, text)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"the file {path} does not give names and values", name=path, fix="for example `n_trees: 300`")
    return value


def _parsed(path: str, text: str) -> Any:
    ending = path.rpartition(".")[2].lower()
    try:
        if ending == "json":
            import json

            return json.loads(text)
        if ending == "toml":
            import tomllib

            return tomllib.loads(text)
        if ending in {"yaml", "yml"}:
            import yaml

            try:
                return yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}", name=path, fix=f"mend the file: it is read as {ending.upper()}") from error
    raise UsageError(f"{path}: which format is that?", name=path, fix="call it .json, .yaml or .toml")
