"""``cellway show``, ``artifacts`` and ``export``: graphs and values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellway.cli.console import Console, cells, count, fit, shown_path, size
from cellway.cli.parsing import Call
from cellway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellway.ledger import Produced
    from cellway.project import Project
    from cellway.records import Artifact, Pipeline

_NOTEBOOKS = (".ipynb", ".py")
_FORMATS = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".md": "mermaid", ".txt": "text"}


def show(console: Console, call: Call) -> int:
    """``cellway show NOTEBOOK`` or ``cellway show ARTIFACT``."""
    from cellway.cli.places import project_here, project_of

    what = call.required()
    if what.endswith(_NOTEBOOKS) or Path(what).is_dir():
        return _graph(console, call, project_of(call, what), what)
    for name in ("--svg", "--mermaid"):
        if call.flag(name):
            raise UsageError(
                f"`{name}` draws a notebook, and `{what}` is none", name=name, fix=f"`cellway show NOTEBOOK {name}`"
            )
    return _artifact(console, call, project_here(console, call), what)


# --- graphs ----------------------------------------------------------------------------------------------------------


def _graph(console: Console, call: Call, project: Project, source: str) -> int:
    from cellway.drawing import draw, edges

    pipeline = project.check(source)
    if not pipeline.steps:
        project.pipeline(source)  # raises, and says why
    target = call.text("--output")
    if console.json:
        links = [
            {"from": p, "to": s, "names": names} for s, found in edges(pipeline).items() for p, names in found.items()
        ]
        console.data({"pipeline": pipeline.name, "steps": [step.name for step in pipeline.steps],
                      "edges": links,
                      "parameters": pipeline.parameters})  # fmt: skip
        return 0
    form = _format(call, target)
    text = draw(pipeline, form)
    if target is not None:
        write(target, text.encode())
        console.print(f"{console.style('written:', 'green')} {target}")
    elif form == "text":
        _terminal_graph(console, pipeline, text)
    else:
        console.print(text, end="")
    return 0


def _terminal_graph(console: Console, pipeline: Pipeline, text: str) -> None:
    for line in text.splitlines():
        console.print(console.fit(line, console.room) if console.room else line)
    if pipeline.parameters:
        console.print()
        rows = [[p.name, p.type or "any", _json(p.default), p.help] for p in pipeline.parameters]
        console.table(rows, ("parameter", "type", "default", ""), styles=("bold", "", "", "dim"))
    errors = sum(found.level == "error" for found in pipeline.diagnostics)
    if errors:
        console.print()
        console.print(console.style(f"{count(errors, 'error')}: see `cellway check {pipeline.source}`", "red"))


def _format(call: Call, target: str | None) -> str:
    if call.flag("--svg") and call.flag("--mermaid"):
        raise UsageError("`--svg` or `--mermaid`: one of them", name="--svg", fix="call it twice for both")
    asked = "svg" if call.flag("--svg") else "mermaid" if call.flag("--mermaid") else None
    if asked is not None or target is None:
        return asked or "text"
    ending = Path(target).suffix.lower()
    if ending not in _FORMATS:
        raise UsageError(
            f"{target}: which format is that?", name="--output", fix="call it .svg, .mmd or .txt, or add --svg"
        )
    return _FORMATS[ending]


# --- artifacts -------------------------------------------------------------------------------------------------------


def artifacts(console: Console, call: Call) -> int:
    """``cellway artifacts [STEP]``."""
    from cellway.cli.places import project_here
    from cellway.records import RANDOM

    project, step = project_here(console, call), call.word()
    found = project.artifacts(run=call.text("--run") or "last", step=step)
    if console.json:
        console.data([_described(item) for item in found])
        return 0
    order = list(dict.fromkeys(item.step for item in found))
    rows = []
    for item in sorted(found, key=lambda item: order.index(item.step), reverse=True):
        artifact = item.artifact
        if artifact.name != RANDOM:
            name = f"{item.step}.{artifact.name}"
            type_ = _short(artifact.type)
            rows.append([name, type_, _shape(artifact), size(artifact.size), artifact.fingerprint[:12]])
    if not rows:
        console.print("no artifacts" if step is None else f"step {step} left no artifacts")
        return 0
    head = ("artifact", "type", "shape", "size", "fingerprint")
    console.table(rows, head, styles=("bold", "", "", "", "dim"), wide=1)
    return 0


def _artifact(console: Console, call: Call, project: Project, ref: str) -> int:
    run = call.text("--run")
    found = project.artifact(f"{run}:{ref}" if run else ref)
    artifact, target = found.artifact, call.text("--output")
    picture = artifact.sidecar.get("picture")
    if target is not None:
        if not picture:
            raise UsageError(
                f"{artifact.name} has no picture", name=ref, fix=f"`cellway export {ref} -o FILE` writes the value"
            )
        write(target, _bytes(str(picture)))
    if console.json:
        console.data({**_described(found), "sidecar": artifact.sidecar})
        return 0
    shape = _shape(artifact)
    head = console.style(f"{found.step}.{artifact.name}", "bold")
    console.print(f"{head}  {artifact.type}{f'  {shape}' if shape else ''}  {size(artifact.size)}")
    console.print(console.style(f"run {found.run} · {artifact.fingerprint[:16]} · {artifact.materializer}", "dim"))
    _sidecar(console, artifact.sidecar)
    if picture:
        path = target or project.state / "previews" / f"{artifact.fingerprint[:16]}.png"
        if target is None:
            write(path, _bytes(str(picture)))
        console.print(f"\npicture: {shown_path(str(path))}")
    return 0


def _sidecar(console: Console, sidecar: Mapping[str, Any]) -> None:
    """What the sidecar has: first rows, schema, summary, text."""
    preview = _preview(sidecar.get("preview"))
    if preview is not None:
        head, rows = preview
        console.print()
        _wide_table(console, head, rows)
    schema = sidecar.get("schema")
    if schema and preview is None:
        console.print()
        _pairs(console, schema)
    if sidecar.get("summary"):
        console.print()
        _pairs(console, sidecar["summary"])
    if sidecar.get("text") and preview is None:
        console.print()
        console.print(str(sidecar["text"]))


def _preview(preview: Any) -> tuple[list[str], list[list[str]]] | None:
    """Column names and rows of a preview, whichever way round the materializer wrote it."""
    if isinstance(preview, dict) and isinstance(preview.get("columns"), list) and isinstance(preview.get("rows"), list):
        return [str(name) for name in preview["columns"]], [[_cell(v) for v in row] for row in preview["rows"]]
    if isinstance(preview, list) and preview and isinstance(preview[0], dict):
        head = list(preview[0])
        return [str(name) for name in head], [[_cell(row.get(name)) for name in head] for row in preview]
    return None


def _wide_table(console: Console, head: list[str], rows: list[list[str]]) -> None:
    """As many columns as the terminal has room for; how many more there are is said."""
    widths = [min(max(map(cells, (name, *(row[i] for row in rows)))), 24) for i, name in enumerate(head)]
    shown, used = 0, 0
    while shown < len(head) and used + widths[shown] <= (console.room or 10_000) - 16 * (shown + 1 < len(head)):
        used += widths[shown] + 2
        shown += 1
    shown = max(shown, 1)
    cut = [[fit(value, 24) for value in row[:shown]] for row in rows]
    more = len(head) - shown
    extra = [f"… {more} more"] if more else []
    console.table([[*row, *("" for _ in extra)] for row in cut], [*(fit(name, 24) for name in head[:shown]), *extra])


def _pairs(console: Console, value: Any) -> None:
    """A mapping or list of the sidecar, as a table where it is one."""
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        head = list(dict.fromkeys(str(name) for item in value.values() for name in item))
        rows = [[str(name), *(_cell(item.get(key)) for key in head)] for name, item in value.items()]
        console.table(rows, ["", *head], styles=("bold",))
    elif isinstance(value, dict):
        console.table([[str(name), _cell(item)] for name, item in value.items()], styles=("dim", ""))
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        head = list(dict.fromkeys(str(name) for item in value for name in item))
        console.table([[_cell(item.get(name)) for name in head] for item in value], head)
    elif isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        console.table([[_cell(cell) for cell in item] for item in value], styles=("dim", ""))
    else:
        console.print(_cell(value))


def _cell(value: Any) -> str:
    """A value of a preview; long numbers are rounded to six digits."""
    if value is None:
        return ""
    if isinstance(value, str) and len(value) > 9 and "." in value:
        try:
            value = float(value)
        except ValueError:
            return str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _short(type_: str) -> str:
    """``sklearn.RandomForestClassifier`` for ``sklearn.ensemble._forest.RandomForestClassifier``."""
    first, _, rest = type_.partition(".")
    return f"{first}.{rest.rpartition('.')[2]}" if rest else first


def _shape(artifact: Artifact) -> str:
    shape = artifact.sidecar.get("shape")
    return " × ".join(f"{length:,}" if isinstance(length, int) else str(length) for length in shape) if shape else ""


def _described(found: Produced) -> dict[str, Any]:
    artifact = found.artifact
    return {
        "ref": f"{found.step}.{artifact.name}",
        "step": found.step,
        "name": artifact.name,
        "run": found.run,
        "time": found.time,
        "type": artifact.type,
        "shape": artifact.sidecar.get("shape"),
        "size": artifact.size,
        "fingerprint": artifact.fingerprint,
        "materializer": artifact.materializer,
    }


def export(console: Console, call: Call) -> int:
    """``cellway export ARTIFACT -o FILE``."""
    from cellway.cli.places import project_here

    ref, run, target = call.required(), call.text("--run"), call.text("--output")
    if target is None:
        raise UsageError(
            "`cellway export` needs the file to write", name="--output", fix=f"`cellway export {ref} -o FILE`"
        )
    path = project_here(console, call).export(f"{run}:{ref}" if run else ref, Path(target))
    written = path.stat().st_size
    if console.json:
        console.data({"file": str(path), "size": written})
        return 0
    console.print(f"{console.style('written:', 'green')} {target} ({size(written)})")
    return 0


# --- files -----------------------------------------------------------------------------------------------------------


def _bytes(uri: str) -> bytes:
    """The bytes of a data URI."""
    import base64

    return base64.b64decode(uri.partition(",")[2])


def write(target: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all."""
    path = Path(target)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            name=str(path),
            fix="choose another file, or make room",
        ) from error
