"""The named fingerprints that decide whether a step's results are reused (design §6)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cellway import fingerprint
from cellway.errors import Place, UsageError
from cellway.planning import dataflow, environment, modules
from cellway.records import Step

if TYPE_CHECKING:
    from cellway.planning.context import Context
    from cellway.records import Key

MISSING = "missing"
"""Value of ``files/…`` where there is no such file."""

_LONG = 200
_RUN_MAGIC = re.compile(r"^\s*%run\s+(?:-\w+\s+)*([^\s-][^\s]*)", re.MULTILINE)
_PATH_TEXT = re.compile(r"(['\"])([^'\"\n]+)\1")


def key(step: Step, context: Context, inputs: Mapping[str, str]) -> Key:
    """The key of a step.

    Args:
        step: of the pipeline.
        context: parameter values, files, environment.
        inputs: name → fingerprint of the artifact that it starts from, ``RANDOM`` among them where it is handed over.
    """
    return fingerprint.key(parts(step, context, inputs))


def parts(step: Step, context: Context, inputs: Mapping[str, str]) -> dict[str, str]:
    """The named parts of the key, as far as the inputs are known.

    Raises:
        UsageError: a parameter without a value, an unknown kernel.
    """
    codes = dataflow.code_parts(step)
    found = {part: code.fingerprint for part, code in codes.items()}
    moved = dataflow.order(step, codes)
    if moved:
        found["code/order"] = moved
    for name in step.parameters:
        found[f"parameters/{name}"] = parameter(name, context)
    for name, value in inputs.items():
        found[f"inputs/{name}"] = value
    found.update(surroundings(step, context))
    found.update(_files(step, context))
    found.update(_options(step, context))
    return found


def seed(step: Step, context: Context) -> int:
    """What the random generators of a step start from, unless their state is handed over (design §5.6).

    ``--seed N`` says so itself; else it is made from the pipeline's seed and the step's name.
    """
    if isinstance(step.options.seed, int):
        return step.options.seed
    return int(fingerprint.text("seed", f"{context.seed}:{step.name}")[:8], 16)


def parameter(name: str, context: Context) -> str:
    """A parameter's value as a part of the key: readable if it is short, so that a change can be told in words."""
    try:
        value = context.parameters[name]
    except KeyError:
        raise UsageError(f"parameter {name} has no value", name=name) from None
    found = context.memo.get(("parameter", name))
    if found is None:
        try:
            # Types stay apart (1, 1.0, "1", true), and so do dictionaries in another order.
            found = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the value of parameter {name} cannot be part of a key: {error}",
                name=name,
                fix="use numbers, texts, booleans, None, and lists and dictionaries of these",
            ) from None
        if len(found) > _LONG:
            found = "#" + fingerprint.text("parameter", found)
        context.memo["parameter", name] = found
    return str(found)


def surroundings(step: Step, context: Context) -> Mapping[str, str]:
    """Project modules that the step's code reaches, and the distributions that all of these import."""
    kernel = step.options.kernel or context.kernel
    imported = tuple(_imports(step, context))
    known: Mapping[str, str] | None = context.memo.get(("surroundings", kernel, imported))
    if known is None:
        known = _surroundings(imported, kernel, step, context)
        context.memo["surroundings", kernel, imported] = known
    return known


def reached(step: Step, context: Context) -> modules.Reached:
    """Project modules that the step's code reaches."""
    kernel = step.options.kernel or context.kernel
    return _reach(tuple(_imports(step, context)), _environment(kernel, step, context), context)


def distributions(step: Step, context: Context) -> Mapping[str, str]:
    """Distributions that the step's code and the project modules that it reaches import, with what these require."""
    installed = _environment(step.options.kernel or context.kernel, step, context)
    return installed.distributions(reached(step, context).outside) if installed is not None else {}


def _surroundings(
    imported: tuple[modules.Imports, ...], kernel: str | None, step: Step, context: Context
) -> Mapping[str, str]:
    installed = _environment(kernel, step, context)
    if installed is None:
        return {"environment/kernel": str(kernel)}
    found = {"environment/python": installed.python}
    local = _reach(imported, installed, context)
    for dotted, value in local.digests.items():
        found[f"modules/{dotted}"] = value
    for name, version in installed.distributions(local.outside).items():
        found[f"environment/{name}"] = version
    nowhere = {dotted.partition(".")[0] for dotted in local.modules}
    for name in installed.unknown(local.outside):
        if name not in nowhere:
            found[f"environment/{name}"] = "unknown"
    return found


def _reach(
    imported: tuple[modules.Imports, ...], installed: environment.Environment | None, context: Context
) -> modules.Reached:
    if installed is None:
        return modules.Reached()
    folders = list(dict.fromkeys((*context.module_folders, *_added_folders(imported), *installed.sources)))
    elsewhere: dict[str, list[str]] = dict(installed.elsewhere)
    while True:
        found = context.modules.reach(imported, folders, elsewhere)
        new = False
        for name in installed.unknown(found.outside):
            if name not in elsewhere:
                # A module that lies loose among installed packages, or in a folder of the project that the code puts
                # on sys.path in a way that its text does not tell.
                elsewhere[name] = installed.strays(name) or context.files.holding(name)
                new = new or bool(elsewhere[name])
        if not new:
            return found


def _imports(step: Step, context: Context) -> list[modules.Imports]:
    found = []
    for code in (*step.carried, *step.cells):
        known = context.memo.get(("imports", code.fingerprint))
        if known is None:
            known = modules.of_code(code)
            if "sys.path" in code.source:
                texts = [match[2] for match in _PATH_TEXT.finditer(code.source)]
                known = modules.Imports(known.names, known.dynamic, tuple(context.files.folders(texts)))
            context.memo["imports", code.fingerprint] = known
        if known.names or known.dynamic or known.folders:
            found.append(known)
    return found


def _added_folders(imported: tuple[modules.Imports, ...]) -> list[str]:
    return [folder for each in imported for folder in each.folders]


def _environment(kernel: str | None, step: Step, context: Context) -> environment.Environment | None:
    """``None`` where the language is not Python: then the kernel's name is all that is known."""
    spoken = context.language if kernel == context.kernel else environment.language(kernel)
    if spoken != "python":
        return None
    try:
        return context.environment(kernel)
    except UsageError as error:
        if step.options.kernel is None:
            raise
        error.place = Place(cell=step.cells[0].cell if step.cells else None, step=step.name)
        raise


def declared(step: Step, context: Context) -> Mapping[str, str]:
    """Absolute path → how the key calls it, of the files that a step declares, ``%run`` among them.

    A pattern that fits no file stands for itself.
    """
    patterns = list(step.options.reads)
    for code in (*step.carried, *step.cells):
        if "%run" in code.source:
            patterns += _RUN_MAGIC.findall(code.source)
    if not patterns:
        return {}
    found: dict[str, str] | None = context.memo.get(("declared", step.name))
    if found is None:
        found = {}
        for pattern in patterns:
            paths = context.files.expand(pattern)
            found.update({path: context.files.shown(path) for path in paths} or {pattern: pattern})
        context.memo["declared", step.name] = found
    return found


def _files(step: Step, context: Context) -> Mapping[str, str]:
    return {f"files/{shown}": context.files.digest(path) or MISSING for path, shown in declared(step, context).items()}


def _options(step: Step, context: Context) -> Mapping[str, str]:
    found: dict[str, Any] = {"options/seed": str(seed(step, context))}
    options = step.options
    if options.cache_version is not None:
        found["options/cache-version"] = options.cache_version
    if options.each is not None:
        found["options/each"] = options.each
    kernel = options.kernel or context.kernel
    if kernel not in {None, "python3"}:
        found["options/kernel"] = kernel
    return found
