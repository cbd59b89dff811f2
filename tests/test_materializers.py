"""Every kind of value comes back exactly, from a file, in another process; and writing to it leaves the file alone."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import value_table
from hypothesis import given, settings
from hypothesis import strategies as st

from cellway import fingerprint, materializers
from cellway.errors import CannotStore, PluginError, StoreError
from cellway.materializers import pickled

TESTS = pathlib.Path(__file__).parent


def run(code: str, cwd: pathlib.Path, **variables: str) -> str:
    """Output of a fresh interpreter; its ``__main__`` stands for a notebook."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(TESTS), **variables}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, materializers.Blob]:
    folder = tmp_path_factory.mktemp("blobs")
    return {name: materializers.write(make(), str(folder)) for name, make in value_table.VALUES.items()}


@pytest.fixture(scope="module")
def problems(written: dict[str, materializers.Blob], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a fresh process finds wrong with the files, by name."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "files.json").write_text(
        json.dumps({name: (blob.materializer, blob.path) for name, blob in written.items()})
    )
    done = subprocess.run(
        [sys.executable, str(TESTS / "value_table.py"), str(folder / "files.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", value_table.VALUES)
def test_exact_in_another_process(name: str, problems: dict[str, str]) -> None:
    assert problems.get(name, "") == ""


@pytest.mark.parametrize("name", value_table.VALUES)
def test_written_by_the_intended_materializer(name: str, written: dict[str, materializers.Blob]) -> None:
    (expected,) = (kind for kind, table in value_table.BY_MATERIALIZER.items() if name in table)
    assert written[name].materializer == expected


@pytest.mark.parametrize("name", value_table.VALUES)
def test_digest_is_the_files(name: str, written: dict[str, materializers.Blob]) -> None:
    blob = written[name]
    assert blob.digest == fingerprint.file(blob.path)
    assert blob.size == os.path.getsize(blob.path)


@pytest.mark.parametrize("name", [*value_table.PLAIN, *value_table.ARROW, *value_table.ARRAY])
def test_equal_values_have_equal_bytes(name: str, written: dict[str, materializers.Blob]) -> None:
    assert materializers.probe(value_table.VALUES[name]()) == (written[name].materializer, written[name].digest)


@pytest.mark.parametrize("name", value_table.VALUES)
def test_sidecar_is_json_and_small(name: str) -> None:
    value = value_table.VALUES[name]()
    blob_name, _ = materializers.probe(value)
    text = json.dumps(materializers.by_name(blob_name).describe(value), allow_nan=False)
    assert len(text) < 150_000


def test_writing_leaves_the_value_and_the_file_alone(tmp_path: pathlib.Path) -> None:
    changes: list[tuple[Any, Any]] = [
        (value_table.numbers(), lambda df: df.__setitem__("a", 0.0) or df.iloc.__setitem__((0, 1), -1.0)),
        (value_table.mixed(), lambda df: df.iloc.__setitem__((0, 0), 99) or df.loc.__setitem__((1, "s"), "changed")),
        (pd.Series([1.0, 2.0]), lambda series: series.iloc.__setitem__(0, 5.0)),
        (np.arange(5.0), lambda array: array.__setitem__(0, 9.0)),
        (np.asfortranarray(np.eye(3)), lambda array: array.sort(axis=0)),
        ({"w": np.arange(1000.0)}, lambda value: value["w"].__setitem__(slice(None), 0.0)),
    ]
    for value, change in changes:
        blob = materializers.write(value, str(tmp_path))
        read = materializers.by_name(blob.materializer).read
        loaded = read(blob.path)
        change(loaded)
        assert value_table.differences(value, loaded) != "", "the change must have worked"
        assert value_table.differences(value, read(blob.path)) == ""
        assert fingerprint.file(blob.path) == blob.digest


@pytest.mark.parametrize(
    ("value", "arrays"),
    [
        (np.arange(1000.0), lambda value: [value]),
        (value_table.numbers(1000), lambda value: [block.values for block in value._mgr.blocks]),
        (pd.Series(np.arange(1000)), lambda value: [value._mgr.blocks[0].values]),
        ({"a": np.arange(1000.0)}, lambda value: [value["a"]]),
        (
            pd.DataFrame({"t": pd.date_range("2020", periods=1000, tz="UTC"), "c": pd.Categorical(["a"] * 1000)}),
            lambda value: [value["t"].array._ndarray, value["c"].array._ndarray],
        ),
    ],
    ids=["array", "frame", "series", "pickle", "times and categories"],
)
def test_loading_maps_the_file(value: Any, arrays: Any, tmp_path: pathlib.Path) -> None:
    blob = materializers.write(value, str(tmp_path))
    loaded = materializers.by_name(blob.materializer).read(blob.path)
    places = mapped(blob.path)
    for array in arrays(loaded):
        address = array.__array_interface__["data"][0]
        assert any(low <= address < high for low, high in places), "not on the mapping"
        assert array.flags.writeable or type(value) is pd.DataFrame


def mapped(path: str) -> list[tuple[int, int]]:
    """Addresses at which a file is mapped into this process."""
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("needs /proc")
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(os.path.realpath(path))]
    return [(int(low, 16), int(high, 16)) for low, high in spans]


def test_loading_a_large_frame_reads_none_of_it(tmp_path: pathlib.Path) -> None:
    code = """
        import os, numpy as np, pandas as pd, sys
        from cellway import materializers
        def anonymous():
            return sum(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(("RssAnon", "RssFile")))
        if sys.argv[0] == "-c" and not os.path.exists("path"):
            frame = pd.DataFrame(np.random.default_rng(0).random((400_000, 20)), columns=[f"c{i}" for i in range(20)])
            blob = materializers.write(frame, ".")
            open("path", "w").write(os.path.abspath(blob.path))
            assert blob.materializer == "arrow"
        else:
            import pyarrow, pandas.api.internals
            path = open("path").read()
            small = materializers.write(pd.DataFrame({"a": [1.0]}), ".")
            materializers.by_name("arrow").read(small.path)
            before = anonymous()
            frame = materializers.by_name("arrow").read(path)
            print((anonymous() - before) // 1024, frame.shape[0], frame.to_numpy().base is not None)
    """
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    run(code, tmp_path)
    extra, rows, view = run(code, tmp_path).split()
    assert (rows, view) == ("400000", "True")
    assert int(extra) < 10, "61 MB of data, none of which should have been read"


def test_aliases_and_views_survive_inside_a_value(tmp_path: pathlib.Path) -> None:
    base = np.arange(10.0)
    inner = [1]
    value = {"base": base, "tail": base[5:], "x": inner, "y": inner}
    blob = materializers.write(value, str(tmp_path))
    loaded = materializers.by_name(blob.materializer).read(blob.path)
    loaded["tail"][0] = -1
    loaded["x"].append(2)
    assert loaded["base"][5] == -1
    assert loaded["y"] == [1, 2]


def test_what_a_vectorizer_notes_of_its_process_is_not_stored() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    value = TfidfVectorizer().fit(["some words", "more words"])
    before = pickled.essence(value)
    value.transform(["words"])  # notes an id()
    assert pickled.essence(value) == before
    again = pickled.loads(*pickled.dumps(value))
    assert not hasattr(again, "_stop_words_id")
    assert (again.transform(["words"]) != value.transform(["words"])).nnz == 0


def test_frames_that_share_memory_do_not_see_each_other(tmp_path: pathlib.Path) -> None:
    one = value_table.numbers()
    blob = materializers.write({"one": one, "two": one.copy(deep=False)}, str(tmp_path))
    loaded = materializers.by_name("pickle").read(blob.path)
    loaded["one"].iloc[0, 0] = -1
    assert loaded["two"].iloc[0, 0] == one.iloc[0, 0]


def test_garbage_under_nulls_and_chunks_do_not_change_the_bytes() -> None:
    whole = pa.table({"a": pa.array([1, 2, 3, 4])})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 3)])
    assert materializers.probe(whole) == materializers.probe(pieces)


# --- what the notebook itself defines ----------------------------------------------------------------------------

NOTEBOOK = """
    import dataclasses, enum, functools, sys
    from cellway import materializers

    scale = 2

    class Base:
        def area(self): return self.side * self.side * scale

    class Square(Base):
        def __init__(self, side): self.side = side
        def area(self): return super().area() + 1

    @dataclasses.dataclass(frozen=True)
    class Pair:
        a: int
        b: object = None

    class Mode(enum.Enum):
        FAST = 1

    def double(x): return scale * x

    def counter():
        n = 0
        def step():
            nonlocal n
            n += 1
            return n
        return step

    def local_class():
        class Local:
            def hello(self): return "hello"
        return Local()
"""


@pytest.mark.parametrize(
    ("make", "test"),
    [
        ("Square(3)", "value.area() == 19"),
        ("[Pair(1, Pair(2)), Mode.FAST]", "value[0].b.a == 2 and value[1].name == 'FAST'"),
        ("double", "value(4) == 8"),
        ("lambda x: double(x) + scale", "value(4) == 10"),
        ("functools.partial(double, 5)", "value() == 10"),
        ("local_class()", "value.hello() == 'hello'"),
        ("(lambda c: (c(), c)[1])(counter())", "value() == 2"),
        ("Square", "value(2).area() == 9"),
    ],
)
def test_what_the_notebook_defines(make: str, test: str, tmp_path: pathlib.Path) -> None:
    write = textwrap.dedent(NOTEBOOK) + f"\nprint(materializers.write({make}, '.').path)"
    path = run(write, tmp_path)
    assert run(write, tmp_path) == path, "the same bytes in another kernel"
    read = f"from cellway import materializers\nvalue = materializers.by_name('pickle').read({path!r})\n"
    assert run(f"{read}print({test})", tmp_path) == "True", "in a step that defines nothing"
    again = textwrap.dedent(NOTEBOOK) + read
    assert run(f"{again}print({test})", tmp_path) == "True", "in a step that carries the definitions"


def test_instances_are_of_the_class_that_the_step_defines(tmp_path: pathlib.Path) -> None:
    path = run(textwrap.dedent(NOTEBOOK) + "\nprint(materializers.write([Square(3), Square(4)], '.').path)", tmp_path)
    read = (
        f"\nvalue = materializers.by_name('pickle').read({path!r})\nprint(isinstance(value[0], Square), type(value[1]))"
    )
    assert run(textwrap.dedent(NOTEBOOK) + read, tmp_path) == "True <class '__main__.Square'>"


def test_functions_see_the_globals_where_they_are_used(tmp_path: pathlib.Path) -> None:
    path = run(textwrap.dedent(NOTEBOOK) + "\nprint(materializers.write(double, '.').path)", tmp_path)
    read = f"""
from cellway import materializers
double = materializers.by_name('pickle').read({path!r})
before = double(1)
scale = 10
print(before, double(1))
"""
    assert run(read, tmp_path) == "2 10"


def keeping(value: Any) -> Any:
    return lambda: value


# --- what cannot be stored -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: (n for n in range(3)),
        lambda: __import__("threading").Lock(),
        lambda: __import__("socket").socket(),
        lambda: __import__("sqlite3").connect(":memory:"),
        lambda: open(os.devnull),  # noqa: SIM115
        lambda: {"deep": [open(os.devnull, "rb")]},  # noqa: SIM115
        lambda: memoryview(b"abc"),
        lambda: keeping(open(os.devnull)),  # noqa: SIM115
    ],
    ids=["generator", "lock", "socket", "connection", "file", "file inside", "memoryview", "file in a closure"],
)
def test_cannot_store(make: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(CannotStore):
        materializers.write(make(), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_writable_memory_map_is_refused(tmp_path: pathlib.Path) -> None:
    array = np.memmap(tmp_path / "data", "f8", "w+", shape=(4,))
    with pytest.raises(CannotStore, match="memmap"):
        materializers.write(array, str(tmp_path))


@pytest.mark.parametrize(
    "value", [value_table.numbers(5000), np.arange(20000.0), {"a": np.arange(20000.0)}, ["x" * 200_000]]
)
def test_full_disk(value: Any, tmp_path: pathlib.Path) -> None:
    """The file size limit of the process stands for the disk: writing fails in the middle."""
    resource = pytest.importorskip("resource")
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        with pytest.raises(StoreError, match="no space left") as caught:
            materializers.write(value, str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        materializers.write(1, str(tmp_path / "missing"))


def test_a_limit(tmp_path: pathlib.Path) -> None:
    for value in (
        [0] * 1000,
        np.arange(1000.0),
        value_table.numbers(1000),
        {"a": np.arange(1000.0)},
        {(1, 2): "x" * 5000},
    ):
        with pytest.raises(CannotStore, match="larger than 1,000"):
            materializers.write(value, str(tmp_path), limit=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, None])
def test_damaged_pickle(damage: bytes | None, tmp_path: pathlib.Path) -> None:
    blob = materializers.write({"a": np.arange(1000.0)}, str(tmp_path))
    path = pathlib.Path(blob.path)
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises((StoreError, ValueError)):
        materializers.by_name("pickle").read(blob.path)


def test_unknown_materializer() -> None:
    with pytest.raises(PluginError, match="'parchment'") as caught:
        materializers.by_name("parchment")
    assert "json" in str(caught.value)


# --- against oracles -----------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4) | st.tuples(inner)
    ),
    max_leaves=10,
)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_plain_accepts_only_what_comes_back(value: Any) -> None:
    from cellway.materializers.plain import Plain

    if Plain().accepts(value):
        again = json.loads(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        assert value_table.differences(value, again) == ""


COLUMNS = st.sampled_from([
    [1, 2, 3], [1.5, None, 3], ["a", None, "c"], [True, False, None], [True, False, True], [1, "a", None],
    pd.to_datetime(["2020", None, "2021"]), pd.array([1, None, 3], dtype="Int64"), pd.Categorical(["a", None, "a"]),
    np.array([1, 2, 3], "f4"), pd.to_timedelta([1, 2, 3]), pd.period_range("2020", periods=3, freq="D"), [[1], [2], []],
])  # fmt: skip
LABELS = st.sampled_from(["a", "b", "a", 1, 2.5, None, "ü"])
INDEXES = st.sampled_from([
    None, pd.Index(["x", "y", "x"]), pd.date_range("2020", periods=3), pd.RangeIndex(0, 6, 2),
    pd.Index([1.5, 2, 3], name="n"), pd.MultiIndex.from_arrays([["a", "a", "b"], [1, 2, 1]]),
    pd.CategoricalIndex(["u", "v", "u"]), pd.Index([1, "b", None]),
])  # fmt: skip


@given(st.lists(st.tuples(LABELS, COLUMNS), max_size=5), INDEXES)
@settings(max_examples=80, deadline=None)
def test_any_frame_comes_back(columns: list[tuple[Any, Any]], index: Any) -> None:
    import tempfile

    frame = pd.DataFrame({place: column for place, (_, column) in enumerate(columns)}, index=range(3))
    frame.columns = pd.Index([label for label, _ in columns], dtype=object).infer_objects()
    if index is not None:
        frame.index = index
    with tempfile.TemporaryDirectory() as folder:
        blob = materializers.write(frame, folder)
        assert value_table.differences(frame, materializers.by_name(blob.materializer).read(blob.path)) == ""


# --- signatures ----------------------------------------------------------------------------------------------------


def test_signatures(tmp_path: pathlib.Path) -> None:
    blob = materializers.write((1, 2), str(tmp_path))
    key, other = "aa" * 32, "bb" * 32
    signature = materializers.sign(key, blob.digest)
    materializers.check_signature(key, blob.digest, signature, blob.path, "x")
    with pytest.raises(StoreError, match="not signed"):
        materializers.check_signature(key, blob.digest, None, blob.path, "x")
    with pytest.raises(StoreError, match="another key"):
        materializers.check_signature(other, blob.digest, signature, blob.path, "x")
    pathlib.Path(blob.path).write_bytes(b"something else")
    with pytest.raises(StoreError, match="changed") as caught:
        materializers.check_signature(key, blob.digest, signature, blob.path, "x")
    assert "`x`" in str(caught.value)
    assert caught.value.fix


def test_fingerprints_are_pinned() -> None:
    assert materializers.artifact_fingerprint("json", "00", None) != materializers.artifact_fingerprint(
        "json", "00", "a"
    )
    assert materializers.sign("00" * 32, "ab") == materializers.sign("00" * 32, "ab")
    assert materializers.probe([1, "a"]) == ("json", fingerprint_of(b'[1,"a"]'))


def fingerprint_of(content: bytes) -> str:
    state = fingerprint.blob_hasher()
    state.update(content)
    return state.hexdigest()
