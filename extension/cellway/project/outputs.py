"""What came out of steps: text of executed notebooks, values and files of artifacts."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellway.errors import StoreError, UsageError

if TYPE_CHECKING:
    from cellway.records import Artifact
    from cellway.stores import Store


def text(notebook: Path) -> str:
    """Everything that the cells of an executed notebook printed or showed as text, in order."""
    parts = []
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            kind = output.get("output_type")
            if kind == "stream":
                parts.append(_joined(output.get("text")))
            elif kind == "error":
                parts.append("\n".join(output.get("traceback", ())) + "\n")
            elif "text/plain" in output.get("data", {}):
                parts.append(_joined(output["data"]["text/plain"]) + "\n")
    return "".join(parts)


def value(artifact: Artifact, store: Store) -> Any:
    """The value of an artifact."""
    from cellway import materializers

    path = store.path(artifact.digest)
    loaded = materializers.by_name(artifact.materializer).read(path)
    return loaded[artifact.member] if artifact.member is not None else loaded


def export(artifact: Artifact, store: Store, target: str) -> Path:
    """Write an artifact as a file.

    The suffix chooses the format where several are possible; the artifact's own bytes are copied where it names them.

    Raises:
        UsageError: the value cannot be written in that format.
        StoreError: the file cannot be written.
    """
    suffix = os.path.splitext(target)[1].lower()
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        _write(artifact, store, suffix, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}", name=target) from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return Path(target)


def _write(artifact: Artifact, store: Store, suffix: str, target: str) -> None:
    native = {"arrow": (".arrow", ".feather"), "array": (".npy",), "json": (".json",)}
    if artifact.member is None and suffix in native.get(artifact.materializer, ()):
        shutil.copyfile(store.path(artifact.digest), target)
        return
    if suffix == ".png" and not _is_figure(artifact):
        picture = str(artifact.sidecar.get("picture", ""))
        if not picture.startswith("data:image/png;base64,"):
            raise UsageError(f"`{artifact.name}` is a {artifact.type}, which has no picture", name=artifact.name)
        Path(target).write_bytes(base64.b64decode(picture.partition(",")[2]))
        return
    loaded = value(artifact, store)
    for writer in _WRITERS.get(suffix, ()):
        if writer(loaded, target):
            return
    raise UsageError(
        f"`{artifact.name}` is a {artifact.type} and cannot be written as {suffix or 'a file without suffix'}",
        name=artifact.name,
        fix=f"use one of {', '.join(sorted(_WRITERS))} that fits its type; .pkl fits every type",
    )


def _is_figure(artifact: Artifact) -> bool:
    """Whether the value is a figure, which can be drawn at full size."""
    return artifact.type.startswith("matplotlib.figure.")


def _csv(loaded: Any, target: str) -> bool:
    if hasattr(loaded, "to_csv"):
        loaded.to_csv(target)
    elif hasattr(loaded, "write_csv"):
        loaded.write_csv(target)
    elif type(loaded).__module__ == "numpy" and getattr(loaded, "ndim", 3) <= 2:
        import numpy

        numpy.savetxt(target, loaded, delimiter=",", fmt="%s")
    else:
        return False
    return True


def _parquet(loaded: Any, target: str) -> bool:
    if hasattr(loaded, "to_parquet"):
        loaded.to_parquet(target)
    elif hasattr(loaded, "write_parquet"):
        loaded.write_parquet(target)
    elif type(loaded).__name__ == "Table":
        from pyarrow import parquet

        parquet.write_table(loaded, target)
    else:
        return False
    return True


def _arrow(loaded: Any, target: str) -> bool:
    import pyarrow as pa

    if hasattr(loaded, "to_arrow"):
        loaded = loaded.to_arrow()
    elif hasattr(loaded, "to_frame") or hasattr(loaded, "columns"):
        loaded = pa.Table.from_pandas(loaded if hasattr(loaded, "columns") else loaded.to_frame())
    if not isinstance(loaded, pa.Table):
        return False
    with pa.OSFile(target, "wb") as sink, pa.ipc.new_file(sink, loaded.schema) as writer:
        writer.write_table(loaded)
    return True


def _json(loaded: Any, target: str) -> bool:
    if hasattr(loaded, "to_json"):
        loaded.to_json(target, orient="records" if hasattr(loaded, "columns") else None)
        return True
    if hasattr(loaded, "write_json"):
        loaded.write_json(target)
        return True
    try:
        content = json.dumps(loaded, ensure_ascii=False, indent=1)
    except (TypeError, ValueError):
        return False
    Path(target).write_text(content + "\n", "utf-8")
    return True


def _npy(loaded: Any, target: str) -> bool:
    if type(loaded).__module__ != "numpy":
        return False
    import numpy

    with open(target, "wb") as stream:
        numpy.save(stream, loaded, allow_pickle=False)
    return True


def _figure(loaded: Any, target: str) -> bool:
    figure = loaded if hasattr(loaded, "savefig") else getattr(loaded, "figure", None)
    if figure is None:
        return False
    figure.savefig(target, format="png", dpi=150, bbox_inches="tight")
    return True


def _plain_text(loaded: Any, target: str) -> bool:
    content = getattr(loaded, "data", loaded) if type(loaded).__name__ in {"Markdown", "HTML"} else loaded
    if not isinstance(content, str):
        return False
    Path(target).write_text(content, "utf-8")
    return True


def _pickle(loaded: Any, target: str) -> bool:
    import cloudpickle

    with open(target, "wb") as stream:
        cloudpickle.dump(loaded, stream)
    return True


_WRITERS: Mapping[str, tuple[Callable[[Any, str], bool], ...]] = {
    ".csv": (_csv,),
    ".parquet": (_parquet,),
    ".arrow": (_arrow,),
    ".feather": (_arrow,),
    ".json": (_json,),
    ".npy": (_npy,),
    ".png": (_figure,),
    ".txt": (_plain_text,),
    ".md": (_plain_text,),
    ".html": (_plain_text,),
    ".pkl": (_pickle,),
}


def _joined(content: Any) -> str:
    return "".join(content) if isinstance(content, list) else str(content or "")
