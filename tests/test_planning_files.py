"""Files that decide about reuse: declared with --reads, or seen being opened."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from planning_world import World, code, pipeline, step

from cellway import fingerprint, planning
from cellway.ledger import Ledger
from cellway.planning.files import Files
from cellway.records import Facts


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def age(path: Path, seconds: float = 100.0) -> None:
    """Set a modification time in the past; the change time cannot be set."""
    past = time.time() - seconds
    os.utime(path, (past, past))


def settle(*paths: Path) -> None:
    """Wait until what is known of these files may be kept."""
    while time.time() - max(path.stat().st_ctime for path in paths) < 2.1:
        time.sleep(0.05)


class Counting:
    """A stat cache that the test can look into."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[str, str]] = {}

    def stats(self, kind: str, paths: object, /) -> Mapping[str, tuple[str, str]]:
        return {path: self.kept[kind, path] for path in paths if (kind, path) in self.kept}  # type: ignore[attr-defined]

    def put_stats(self, kind: str, items: Mapping[str, tuple[str, str]], /) -> None:
        self.kept |= {(kind, path): item for path, item in items.items()}


def test_a_file_is_read_once_as_long_as_its_stat_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    settle(path)
    cache, reads = Counting(), []

    def make(path: str) -> str:
        reads.append(path)
        return Path(path).read_text()

    for _ in range(2):
        files = Files(cache, str(tmp_path), str(tmp_path))
        for _ in range(3):
            assert files.derived("text", str(path), make) == "1"
            files.refresh()
        files.flush()
    assert len(reads) == 1
    path.write_text("2")
    files.refresh()
    assert files.derived("text", str(path), make) == "2"


def test_a_file_written_just_now_is_not_trusted_to_its_stat(tmp_path: Path) -> None:
    path, cache = tmp_path / "a", Counting()
    path.write_text("1")
    files = Files(cache, str(tmp_path), str(tmp_path))
    first = files.digest(str(path))
    files.flush()
    assert cache.kept == {}
    # The same stat to the nanosecond would not hide the change either: what is young is read again.
    stat = path.stat()
    path.write_text("2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    files.refresh()
    assert files.digest(str(path)) != first


def test_a_restored_size_and_time_do_not_hide_a_change(tmp_path: Path) -> None:
    path, cache = tmp_path / "a", Counting()
    path.write_text("1")
    age(path)
    settle(path)
    files = Files(cache, str(tmp_path), str(tmp_path))
    first, stat = files.digest(str(path)), path.stat()
    files.flush()
    assert len(cache.kept) == 1
    path.write_text("2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert Files(cache, str(tmp_path), str(tmp_path)).digest(str(path)) != first


def test_a_file_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    one, two, cache = tmp_path / "one", tmp_path / "two", Counting()
    one.write_text("1")
    two.write_text("2")
    settle(one, two)
    files = Files(cache, str(tmp_path), str(tmp_path))
    first = files.digest(str(one))
    two.replace(one)
    files.refresh()
    assert files.digest(str(one)) != first


def test_what_is_no_file(tmp_path: Path) -> None:
    files = Files(Counting(), str(tmp_path), str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("missing", "folder", "dangling", "a\0b"):
        assert files.digest(str(tmp_path / name)) == ""


def test_digests_made_without_blake3_are_compared_with_their_like(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"123")
    files = Files(Counting(), str(tmp_path), str(tmp_path))
    state = fingerprint._Blake2()
    state.update(b"123")
    assert files.digest(str(path), like=state.hexdigest()) == state.hexdigest()
    assert files.digest(str(path)) == fingerprint.file(str(path))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.csv", ["data/a.csv"]),
        ("./a.csv", ["data/a.csv"]),
        ("*.csv", ["data/a.csv", "data/b.csv"]),
        ("**/*.csv", ["data/a.csv", "data/b.csv", "data/deep/c.csv"]),
        ("deep", ["data/deep/c.csv", "data/deep/d.txt"]),
        ("../top.csv", ["top.csv"]),
        ("none.csv", ["data/none.csv"]),
        ("none*.csv", []),
        ("[ab].csv", ["data/a.csv", "data/b.csv"]),
    ],
)
def test_patterns_are_relative_to_the_notebook(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in ("data/a.csv", "data/b.csv", "data/deep/c.csv", "data/deep/d.txt", "top.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    files = Files(Counting(), str(tmp_path), str(tmp_path / "data"))
    assert [files.shown(path) for path in files.expand(pattern)] == expected


def test_shown_paths_lead_back(tmp_path: Path) -> None:
    files = Files(Counting(), str(tmp_path), str(tmp_path))
    for path in (tmp_path / "a" / "b", tmp_path.parent / "other", Path("/etc/hosts")):
        assert files.located(files.shown(str(path))) == str(path)


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.csv"
    Path(os.fsdecode(path)).write_text("1")
    settle(Path(os.fsdecode(path)))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    for _ in range(2):
        files = Files(ledger, str(tmp_path), str(tmp_path))
        assert files.digest(os.fsdecode(path)) == fingerprint.file(os.fsdecode(path))
        files.flush()


# --- in plans ----------------------------------------------------------------------------------------------------


def test_declared_files_are_part_of_the_key(world: World) -> None:
    pipe = pipeline(step("load", options={"reads": ("data/*.csv", "more.csv")}))
    data = world.root / "data"
    data.mkdir()
    (data / "a.csv").write_text("1")
    world.run(pipe)
    assert world.statuses(pipe) == "c"

    stat = (data / "a.csv").stat()
    (data / "a.csv").write_text("2")
    os.utime(data / "a.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert world.reason(pipe, "load") == "file data/a.csv changed"
    (data / "a.csv").write_text("1")
    assert world.statuses(pipe) == "c"

    (data / "b.csv").write_text("1")
    assert world.reason(pipe, "load") == "file data/b.csv is new"
    (data / "b.csv").unlink()
    (world.root / "more.csv").write_text("")
    assert world.reason(pipe, "load") == "file more.csv is new"
    (world.root / "more.csv").unlink()
    (data / "a.csv").unlink()
    assert world.statuses(pipe) == "p"


def test_observed_files_decide_although_they_are_not_in_the_key(world: World) -> None:
    pipe = pipeline(step("load", "df = read()", "", "df"), step("use", "df", "df"))
    path = world.root / "seen.csv"
    path.write_text("1")
    world.run(pipe, observed={"load": ["seen.csv", "absent.csv"]})
    assert world.statuses(pipe) == "cc"
    stat = path.stat()
    path.write_text("2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    plan = world.plan(pipe)
    assert plan.steps[0].reason == "file seen.csv changed"
    assert [change.part for change in plan.steps[0].changes] == ["files/seen.csv"]
    assert world.run(pipe, observed={"load": ["seen.csv"]}) == ["load"]  # it gives the same: `use` is reused
    path.write_text("1")
    assert world.statuses(pipe) == "cc"  # the first run is still there
    (world.root / "absent.csv").write_text("")
    assert world.reason(pipe, "load") in {"file absent.csv is new", "file seen.csv changed"}
    path.unlink()
    assert world.reason(pipe, "load") == "file seen.csv is missing"


def test_a_file_outside_the_project(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.csv"
    outside.write_text("1")
    pipe = pipeline(step("load"))
    world.run(pipe, observed={"load": [str(outside)]})
    assert world.statuses(pipe) == "c"
    outside.write_text("2")
    assert world.reason(pipe, "load") == f"file {outside} changed"


def test_a_notebook_run_by_magic_counts_as_a_file(world: World) -> None:
    (world.root / "other.ipynb").write_text("{}")
    pipe = pipeline(step("a", cells=(code("%run -i other.ipynb"),)))
    world.run(pipe, facts={"a": Facts()})
    (world.root / "other.ipynb").write_text("{ }")
    assert world.reason(pipe, "a") == "file other.ipynb changed"


def test_everything_that_decided_a_plan_is_named(world: World) -> None:
    """What a receipt rests on: whatever could change the plan moves one of these files or folders."""
    for name in ("data/deep/a.csv", "pkg/sub/__init__.py", "pkg/__init__.py", "empty/x.txt", "seen.csv"):
        (world.root / name).parent.mkdir(parents=True, exist_ok=True)
        (world.root / name).write_text("")
    source = "import sys; sys.path.append('lib')\nfrom pkg import sub\nimport nowhere_at_all"
    cells = (code(source, modules=("sys", "pkg", "nowhere_at_all")),)
    pipe = pipeline(step("a", cells=cells, options={"reads": ("data",)}))
    world.run(pipe, observed={"a": ["seen.csv", "absent.csv"]})
    context = world.context(pipe)
    planning.plan(pipe, context)
    found = context.looked_at()
    names = ("", "data", "data/deep", "data/deep/a.csv", "pkg", "pkg/sub", "pkg/sub/__init__.py", "empty", "lib")
    for name in (*names, "seen.csv", "absent.csv"):
        assert str(world.root / name) in found, name
