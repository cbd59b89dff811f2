"""Pipeline → folder: step notebooks, ``pipeline.yaml``, the project's modules, the environment, a README.

Each file is written whole or not at all, ``pipeline.yaml`` last; files that say the same are not touched; files that
cellway did not write, or that somebody edited since, are never overwritten or removed unasked.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from cellway import fingerprint
from cellway.conversion import environment, manifest, plain, readme
from cellway.conversion import standalone as package
from cellway.conversion.naming import generated
from cellway.conversion.notebooks import digest_of, notebook_text, step_notebook
from cellway.errors import StoreError, UsageError
from cellway.records import Pipeline

MODULES = "modules"
_JOURNAL = ".cellway-convert.json"


def convert(
    pipeline: Pipeline,
    folder: str | Path,
    *,
    standalone: bool = False,
    overwrite: bool = False,
    modules: Mapping[str, str | Path] | None = None,
    lock: Mapping[str, str] | None = None,
    python: str = "",
    workdir: str | Path | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Path:
    """Write a pipeline as a folder that can be read, run, edited and put under version control.

    Args:
        pipeline: what to write.
        folder: new, empty, or written by an earlier ``convert``, which is then brought up to date.
        standalone: add what it takes to run the folder without cellway: ``run.py`` and the package ``handover``.
        overwrite: replace files that were edited by hand since the last conversion.
        modules: the project's own modules, path relative to their root (``helpers.py``, ``pkg/a.py``) → file to copy.
        lock: distributions that the pipeline's imports reach → version.
        python: version of the kernel's Python, e.g. ``3.12.4``.
        workdir: folder in which the notebook's relative paths start; its own folder by default.
        seeds: step → what its random generators start from, where no state is handed over; by default as
            :func:`cellway.planning.seed` has it for a pipeline whose seed is 0.

    Returns:
        The folder, absolute.

    Raises:
        UsageError: the folder holds something else, or edited files and ``overwrite`` is not set.
        Refusal: the notebook's kernel is not Python, or it seeds the generators anew between two steps.
        StoreError: a file cannot be read or written.
    """
    target = Path(os.path.abspath(folder))
    plain.check_seeding(pipeline)
    files = _files(pipeline, target, standalone, modules or {}, lock, python, workdir, seeds or {})
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            _update(target, files, overwrite)
    except FileExistsError:
        raise UsageError(f"{target} is a file", name=str(target), fix="name a folder") from None
    except OSError as error:
        raise StoreError(
            f"the pipeline cannot be written to {target}: {error.strerror or error}",
            name=str(error.filename or target),
            fix="make room or name another folder, and convert again; files already written are complete",
        ) from error
    return target


def notebook_names(pipeline: Pipeline) -> dict[str, str]:
    """Step → file name: numbered in notebook order, so that the folder reads well."""
    width = max(2, len(str(len(pipeline.steps))))
    usable = {step.name: re.sub(r"[^\w.-]+", "-", step.name) for step in pipeline.steps}
    return {name: f"{number:0{width}}_{usable[name]}.ipynb" for number, name in enumerate(usable, start=1)}


def _files(
    pipeline: Pipeline,
    target: Path,
    alone: bool,
    modules: Mapping[str, str | Path],
    lock: Mapping[str, str] | None,
    python: str,
    workdir: str | Path | None,
    seeds: Mapping[str, int],
) -> dict[str, bytes]:
    """Path in the folder → content; ``pipeline.yaml`` comes last."""
    notebooks = notebook_names(pipeline)
    names = generated(pipeline)
    home = _relative(target, Path(workdir) if workdir is not None else Path(pipeline.source).parent)
    texts: dict[str, str] = {}
    for step in pipeline.steps:
        notebook = step_notebook(
            pipeline,
            step,
            providers=plain.providers(pipeline, step),
            outputs=plain.outputs(pipeline, step),
            standalone=alone,
            modules=MODULES if modules else None,
            seed=seeds.get(step.name, plain.seed(step)),
        )
        texts[notebooks[step.name]] = notebook_text(notebook)
    locked = ""
    if lock is not None:
        locked = environment.REQUIREMENTS if alone else environment.LOCK
        texts[locked] = environment.text(pipeline, lock, python, runner=alone)
    if alone:
        texts["run.py"] = package.runner(pipeline, notebooks, names, home, modules=bool(modules))
        texts |= {f"{names.package}/{name}": text for name, text in package.package(names.package).items()}
    texts["README.md"] = readme.text(pipeline, notebooks, names, home, alone, locked, modules=bool(modules))
    files = {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
    files |= {f"{MODULES}/{_inside(name)}": _content(path) for name, path in sorted(modules.items())}
    said = manifest.manifest(
        pipeline,
        notebooks,
        files={name: _digest(name, content) for name, content in files.items()},
        workdir=home,
        standalone=alone,
        handover=names.handover,
        environment=locked,
        python=python,
    )
    files[manifest.NAME] = manifest.text(said).encode()
    return files


def _inside(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"a module's path must stay inside its root: {name}", name=name)
    return str(path)


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StoreError(f"module {path} cannot be read: {error.strerror or error}", name=str(path)) from error


def _relative(target: Path, workdir: Path) -> str:
    try:
        return Path(os.path.relpath(workdir, target)).as_posix()
    except ValueError:  # another drive
        return workdir.as_posix()


def _digest(name: str, content: bytes) -> str:
    """What ``pipeline.yaml`` keeps of a file: of a notebook, what its cells say; outputs do not count."""
    if name.endswith(".ipynb") and "/" not in name:
        with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
            return digest_of(json.loads(content)["cells"])
    return fingerprint.digest("file", content.replace(b"\r\n", b"\n"))[:16]


# --- an existing folder ----------------------------------------------------------------------------------------


def _update(target: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    before = _written_before(target)
    present = {name: _read(target / name) for name in dict.fromkeys([*before, *files])}
    gone = [name for name in before if name not in files and present[name] is not None]
    stale = [name for name, content in files.items() if not _same(name, content, present[name])]
    if not overwrite:
        _no_edits_lost(target, before, present, [*stale, *gone])
    # Killed from here on, the journal tells the next conversion which files are cellway's.
    journal = {name: _digest(name, files[name]) for name in stale}
    if journal:
        _write(target / _JOURNAL, json.dumps(journal).encode())
    for name in stale:
        _write(target / name, files[name])
    for name in gone:
        (target / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # up to the first that holds something else
            for parent in (target / name).relative_to(target).parents[:-1]:
                (target / parent).rmdir()
    (target / _JOURNAL).unlink(missing_ok=True)


def _written_before(target: Path) -> dict[str, set[str]]:
    """Files of the last conversion, and of one that was killed, with their digests; empty for a new folder.

    Raises:
        UsageError: there is something else in the folder.
    """
    before: dict[str, set[str]] = {}
    if (target / manifest.NAME).exists():
        said = manifest.load(target)
        before = {_inside(str(name)): {str(digest)} for name, digest in said["files"].items()}
        before[manifest.NAME] = set()
    journal = _read(target / _JOURNAL)
    if journal is not None:
        for name, digest in json.loads(journal).items():
            before.setdefault(_inside(name), set()).add(digest)
    others = [entry.name for entry in target.iterdir() if not entry.name.startswith(".")]
    if others and not before:
        shown = ", ".join(sorted(others)[:3]) + (" …" if len(others) > 3 else "")
        raise UsageError(
            f"{target} is not empty and holds no converted pipeline ({shown})",
            name=str(target),
            fix="name a new folder, or an empty one",
        )
    return before


def _no_edits_lost(
    target: Path, before: Mapping[str, set[str]], present: Mapping[str, bytes | None], touched: list[str]
) -> None:
    edited = []
    for name in touched:
        content = present[name]
        if content is None or _untouched(name, content):
            continue
        if _digest(name, content) not in before.get(name, ()):
            edited.append(name)
    if edited:
        raise UsageError(
            f"edited by hand since the last conversion: {', '.join(edited)} (in {target})",
            name=edited[0],
            fix="take the changes over into the notebook, then convert with --overwrite, or into another folder",
        )


def _untouched(name: str, content: bytes) -> bool:
    """Whether a file proves by itself that it is as cellway wrote it."""
    try:
        if name == manifest.NAME:
            return manifest.is_sealed(content.decode())
        if name.endswith(".ipynb"):
            notebook = json.loads(content)
            return bool(notebook["metadata"]["cellway"]["digest"] == digest_of(notebook["cells"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return False


def _same(name: str, content: bytes, present: bytes | None) -> bool:
    """Whether a file need not be written: a notebook that was only executed says the same."""
    if present == content:
        return True
    if present is None or not name.endswith(".ipynb"):
        return False
    try:
        old, new = json.loads(present), json.loads(content)
        return bool(
            old["metadata"]["cellway"] == new["metadata"]["cellway"]
            and old["metadata"].get("kernelspec", {}).get("name") == new["metadata"]["kernelspec"]["name"]
            and digest_of(old["cells"]) == digest_of(new["cells"])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The user's file permissions: a temporary file is the owner's alone, a folder to be shared is not."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep a second conversion out of the folder until this one is done.

    The lock is on the folder itself and ends with the process. Windows cannot lock a folder; there, each file is still
    whole.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(target, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network drive without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
