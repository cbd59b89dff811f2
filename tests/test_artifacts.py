"""Steps hand values on: what one process saves, another loads, aliases, changes, random numbers and files included.

Each step runs in a process of its own, its code being the ``__main__`` that a notebook would be.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from cellway import fingerprint, materializers, records
from cellway_magics import folder


class Steps:
    """Plays ``cellway run``: gives each step a request, adopts its results, and keeps the latest value of each name."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.work = root / "project"
        self.store = root / "store"
        self.work.mkdir()
        self.store.mkdir()
        self.latest: dict[str, dict[str, Any]] = {}
        self.count = 0
        self.stderr = ""

    def run(
        self, code: str, *, reads: str = "", outputs: str = "", fails: bool = False, load: bool = True, **request: Any
    ) -> dict[str, Any]:
        """Run a step.

        Args:
            code: the step's own cells; ``setup`` in it ends at a line ``# cells``.
            reads: names of its inputs.
            outputs: names that it must store.

        Returns:
            Its result.
        """
        self.count += 1
        handover = self.root / f"handover-{self.count}"
        handover.mkdir()
        asked = {
            "format": 1, "step": f"s{self.count}", "run": "r", "step_run": "sr", "root": str(self.work),
            "workdir": str(self.work), "inputs": {name: self.latest[name] for name in reads.split()},
            "outputs": outputs.split(), "optional": [], "watch": [], "later": [], "random": None, "draws": False,
            "optional_limit": 1 << 20, "project_modules": [str(self.work)], "declared": [], "sign_key": None,
            "current": {name: entry["fingerprint"] for name, entry in self.latest.items()}, **request,
        }  # fmt: skip
        (handover / "request.json").write_text(json.dumps(asked))
        setup, _, cells = textwrap.dedent(code).rpartition("# cells\n")
        names = ", ".join(map(repr, reads.split()))
        target = f"{', '.join(reads.split())} = " if names else ""
        lines = [
            "from cellway_magics import artifacts",
            f"artifacts.begin({str(handover)!r}, step={asked['step']!r})",
            setup,
            f"{target}artifacts.load({names})" if load else "",
            cells,
            f"artifacts.save(globals(), {', '.join(map(repr, outputs.split()))})",
        ]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)], cwd=self.root, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        self.stderr = done.stderr
        assert (done.returncode != 0) == fails, done.stderr
        result: dict[str, Any] = json.loads((handover / "result.json").read_text())
        for entry in result["artifacts"]:
            if entry["path"] is not None:
                place = self.store / entry["digest"]
                if not place.exists():
                    os.replace(handover / entry["path"], place)
                    place.chmod(0o444)
                entry["path"] = str(place)
            else:
                entry["path"] = str(self.store / entry["digest"])
            self.latest[entry["name"]] = entry
        assert not fails or result["error"]
        result["stdout"] = done.stdout.strip()
        result["names"] = {entry["name"]: entry for entry in result["artifacts"]}
        return result


@pytest.fixture
def steps(tmp_path: pathlib.Path) -> Steps:
    return Steps(tmp_path)


# --- outputs and inputs ----------------------------------------------------------------------------------------------


def test_values_arrive(steps: Steps) -> None:
    result = steps.run("import pandas as pd\ndf = pd.DataFrame({'a': [1.0, 2.0]})\nn = 3", outputs="df n")
    assert result["error"] is None
    assert result["names"]["df"]["materializer"] == "arrow"
    assert result["names"]["df"]["type"] == "pandas.DataFrame"
    assert result["names"]["df"]["sidecar"]["shape"] == [2, 1]
    for entry in result["artifacts"]:
        assert fingerprint.file(entry["path"]) == entry["digest"]
        assert os.path.getsize(entry["path"]) == entry["size"]
        assert {*entry} == {field.name for field in records.Artifact.__dataclass_fields__.values()} | {"path"}
        expected = materializers.artifact_fingerprint(entry["materializer"], entry["digest"], entry["member"])
        assert entry["fingerprint"] == expected
    code = "# cells\ndf.loc[0, 'a'] = 9\nprint(df['a'].tolist(), n, type(n).__name__)"
    assert steps.run(code, reads="df n")["stdout"] == "[9.0, 2.0] 3 int"
    assert steps.run("# cells\nprint(df['a'].tolist())", reads="df")["stdout"] == "[1.0, 2.0]"


def test_working_folder_and_modules_are_the_notebooks(steps: Steps) -> None:
    (steps.work / "helper.py").write_text("value = 7\n")
    result = steps.run("import os, helper\nwhere, value = os.getcwd(), helper.value", outputs="where value")
    assert result["error"] is None
    assert steps.run("# cells\nprint(where, value)", reads="where value")["stdout"] == f"{steps.work} 7"


def test_equal_values_are_loaded_as_two_objects(steps: Steps) -> None:
    steps.run("a, b = [1], [1]", outputs="a b")
    assert steps.latest["a"]["digest"] == steps.latest["b"]["digest"]
    assert steps.run("# cells\na.append(2)\nprint(b)", reads="a b")["stdout"] == "[1]"


def test_missing_input(steps: Steps) -> None:
    steps.run("x = 1", outputs="x")
    os.unlink(steps.latest["x"]["path"])
    steps.root.joinpath("handover-2").mkdir()
    code = "from cellway_magics import artifacts\nartifacts.begin('h', step='s')\nartifacts.load('x')"
    done = subprocess.run([sys.executable, "-c", code], cwd=steps.root, capture_output=True, text=True, check=False)
    assert "step s needs `x`" in done.stderr
    assert "fix: run the step that makes `x` first" in done.stderr


# --- identity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "outputs", "test", "expected"),
    [
        ("x = [1]\ny = {'x': x}", "x y", "x.append(2); print(y)", "{'x': [1, 2]}"),
        ("x = [1]\ny = x", "x y", "print(x is y)", "True"),
        ("x = []\nx.append(x)\ny = (x,)", "x y", "print(y[0] is x, x[0] is x)", "True True"),
        ("import numpy as np\na = np.zeros(3000)\nb = a[10:20]", "a b", "b[0] = 5; print(a[10])", "5.0"),
        ("import numpy as np\na = np.zeros((3, 4))\nb = a.T\nc = a[0]", "a b c", "c[1] = 5; print(b[1, 0])", "5.0"),
        (
            "import pandas as pd\ndf = pd.DataFrame({'a': [1]})\nall_ = [df]",
            "df all_",
            "df['b'] = 2; print(list(all_[0]))",
            "['a', 'b']",
        ),
        (
            (
                "def counter():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n"
                "    def get(): return n\n    return up, get\nup, get = counter()"
            ),
            "up get",
            "up(); up(); print(get())",
            "2",
        ),
        (
            "import pandas as pd\ncell = [1]\na = pd.DataFrame({'o': [cell]})\nb = {'c': cell}",
            "a b",
            "b['c'].append(2); print(a['o'][0])",
            "[1, 2]",
        ),
        (
            "import numpy as np, pandas as pd\na = np.zeros((3, 2))\ndf = pd.DataFrame(a, copy=False)",
            "a df",
            "a[0, 0] = 7; print(df.iloc[0, 0])",
            "7.0",
        ),
    ],
    ids=["inside", "same", "recursive", "slice", "transposed", "frame in a list", "closure", "cell", "on an array"],
)
def test_aliases_stay_aliases(make: str, outputs: str, test: str, expected: str, steps: Steps) -> None:
    result = steps.run(make, outputs=outputs)
    assert len({entry["digest"] for entry in result["artifacts"]}) == 1
    assert {entry["member"] for entry in result["artifacts"]} == set(outputs.split())
    assert steps.run(f"# cells\n{test}", reads=outputs)["stdout"] == expected


@pytest.mark.parametrize(
    ("make", "outputs"),
    [
        ("x = 'text' * 100\ny = [x]", "x y"),
        ("import math\nx = [math.sqrt]\ny = [math.sqrt]", "x y"),
        ("import pandas as pd\nx = pd.DataFrame({'a': [1, 2]})\ny = x.copy(deep=False)", "x y"),
        ("import pandas as pd\nx = pd.DataFrame({'a': [1, 2]})\ny = x[['a']]", "x y"),
        ("import pandas as pd\nx = pd.DataFrame({'a': [1, 2]})\ny = x['a'].to_numpy()", "x y"),
        ("import pyarrow as pa\nx = pa.table({'a': [1]})\ny = [x]", "x y"),
        ("import datetime, decimal\nd = decimal.Decimal('1')\nx = [d]\ny = {'d': d}", "x y"),
        ("import enum\nclass E(enum.Enum):\n    A = 1\nx = [E.A]\ny = [E.A]", "x y"),
    ],
    ids=["text", "function", "lazy copy", "columns", "read-only view", "table", "decimal", "enum"],
)
def test_what_cannot_change_is_stored_apart(make: str, outputs: str, steps: Steps) -> None:
    result = steps.run(make, outputs=outputs)
    assert {entry["member"] for entry in result["artifacts"]} == {None}


def test_an_output_that_refers_to_an_input_draws_it_in(steps: Steps) -> None:
    steps.run("a = [1]", outputs="a")
    result = steps.run("# cells\nb = {'a': a}", reads="a", outputs="b", later=["a", "b"])
    assert result["changed"] == ["a"]
    assert result["names"]["a"]["digest"] == result["names"]["b"]["digest"]
    assert steps.run("# cells\na.append(2)\nprint(b)", reads="a b")["stdout"] == "{'a': [1, 2]}"


def test_an_input_that_an_output_holds_is_drawn_in_whoever_reads_it(steps: Steps) -> None:
    """A step that reads it may be added below later on, and this one is then reused."""
    steps.run("a = [1]", outputs="a")
    result = steps.run("# cells\nb = {'a': a}", reads="a", outputs="b", later=["b"])
    assert result["changed"] == ["a"]
    assert set(result["names"]) == {"a", "b"}


def test_a_companion_that_was_not_asked_for_is_drawn_in(steps: Steps) -> None:
    steps.run("x = [1]\ny = {'x': x}", outputs="x y")
    result = steps.run("# cells\nx.append(2)", reads="x", outputs="x", later=["x", "y"])
    assert result["changed"] == ["y"]
    assert steps.run("# cells\nprint(y['x'] is x, y)", reads="x y")["stdout"] == "True {'x': [1, 2]}"


def test_a_companion_that_was_bound_anew_is_left_alone(steps: Steps) -> None:
    steps.run("x = [1]\ny = {'x': x}", outputs="x y")
    steps.run("y = 'new'", outputs="y")
    result = steps.run("# cells\nx.append(2)", reads="x", outputs="x", later=["x", "y"])
    assert result["changed"] == []
    assert steps.run("# cells\nprint(x, y)", reads="x y")["stdout"] == "[1, 2] new"


# --- changes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "change", "changed"),
    [
        ("v = [1]", "v.append(2)", True),
        ("v = [1]", "len(v)", False),
        ("v = {'a': (1, 2)}", "v['a'] = (1, 3)", True),
        ("v = {'a': (1, 2), 'b': 'x' * 20}", "str(v)", False),
        ("import pandas as pd\nv = pd.DataFrame({'a': [1.0]})", "v['b'] = 1", True),
        ("import pandas as pd\nv = pd.DataFrame({'a': [1.0]})", "v.describe()", False),
        ("import pandas as pd\nv = pd.DataFrame({'a': [1.0]})", "v.attrs['x'] = 1", True),
        ("import pandas as pd\nv = pd.DataFrame({'a': [[1], [2]]})", "v.loc[0, 'a'].append(1)", True),
        ("import numpy as np\nv = np.arange(5.0)", "v[0] = 3", True),
        ("import numpy as np\nv = np.arange(5.0)", "v.sum()", False),
        ("import numpy as np\nv = np.arange(12.0).reshape(3, 4)[:, 1:]", "v.sum()", False),
        (
            (
                "from sklearn.ensemble import RandomForestClassifier as F\n"
                "v = F(5, random_state=0).fit([[1], [2], [3]], [0, 1, 0])"
            ),
            "v.predict([[1]])",
            False,
        ),
        ("from sklearn.linear_model import LinearRegression as L\nv = L()", "v.fit([[1], [2]], [1, 2])", True),
        ("v = {'s': {'b', 'a', 'c'}}", "sorted(v['s'])", False),
        ("v = [1]", "v = 'new'", True),
        ("v = 1", "v = 1", False),
    ],
)
def test_watched_names(make: str, change: str, changed: bool, steps: Steps) -> None:
    steps.run(make, outputs="v")
    before = dict(steps.latest["v"])
    result = steps.run(f"# cells\n{change}", reads="v", watch=["v"], later=["v"])
    assert result["changed"] == (["v"] if changed else [])
    assert (steps.latest["v"]["fingerprint"] != before["fingerprint"]) == changed


def test_a_carried_constant_that_changes(steps: Steps) -> None:
    code = "CONFIG = {'depth': 3}\nSAME = [1]\n# cells\nCONFIG['depth'] = 4\nlen(SAME)"
    result = steps.run(code, watch=["CONFIG", "SAME"], later=["CONFIG", "SAME"])
    assert result["changed"] == ["CONFIG"]
    assert steps.run("CONFIG = {'depth': 3}\n# cells\nprint(CONFIG)", reads="CONFIG")["stdout"] == "{'depth': 4}"


def test_a_carried_constant_inside_an_output(steps: Steps) -> None:
    code = "CONFIG = {'depth': 3}\n# cells\nmodel = {'config': CONFIG}"
    result = steps.run(code, outputs="model", watch=["CONFIG"], later=["CONFIG", "model"])
    assert result["changed"] == ["CONFIG"]
    assert steps.run("# cells\nprint(CONFIG is model['config'])", reads="CONFIG model")["stdout"] == "True"


def test_without_a_load_a_watched_constant_counts_as_changed(steps: Steps) -> None:
    result = steps.run("CONFIG = {'depth': 3}\nlen(CONFIG)", watch=["CONFIG"], later=["CONFIG"], load=False)
    assert result["changed"] == ["CONFIG"]


def test_an_output_that_did_not_change_is_not_written_again(steps: Steps) -> None:
    steps.run("import pandas as pd\ndf = pd.DataFrame({'a': [1]})", outputs="df")
    before = steps.latest["df"]["fingerprint"]
    result = steps.run("# cells\nif len(df) > 5: df['b'] = 1", reads="df", outputs="df")
    assert [entry["fingerprint"] for entry in result["artifacts"]] == [before]
    assert not list((steps.root / "handover-2" / "out").iterdir())


# --- what cannot be stored ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ("bad = open('data', 'w')", ["`bad`", "step s1", "TextIOWrapper", "fix: keep the path"]),
        ("bad = (i for i in [1])", ["`bad`", "generator", "fix: make a list"]),
        ("import sqlite3\nbad = sqlite3.connect(':memory:')", ["sqlite3.Connection", "fix: keep what it takes"]),
        ("import socket\nbad = {'s': socket.socket()}", ["holds a socket", "fix: keep the address"]),
        ("import threading\nbad = [threading.Lock()]", ["lock", "fix: make it in the step"]),
        ("import json\nbad = json", ["is a module", "fix: import it"]),
        (
            "class Own(Exception):\n    def __init__(self, a, b): super().__init__(a)\nbad = Own(1, 2)",
            ["`bad`", "loading it again fails", "fix: make `bad` in the step that uses it"],
        ),
        ("good = 1", ["`bad` is not bound at the end of step s1", "fix: assign `bad`"]),
    ],
    ids=["file", "generator", "connection", "socket", "lock", "module", "one way", "unbound"],
)
def test_cannot_store(make: str, words: list[str], steps: Steps) -> None:
    result = steps.run(f"{make}\ngood = [1, 2]\nother = good", outputs="good bad other", fails=True)
    assert result["error"]["kind"] == "CannotStore"
    assert result["error"]["name"] == "bad"
    text = f"{result['error']['message']}\nfix: {result['error']['fix']}"
    assert all(word in text for word in words), text
    assert set(result["names"]) == {"good", "other"}, "everything else is kept"
    assert result["error"]["message"] in steps.stderr


def test_one_of_a_bundle_cannot_be_stored(steps: Steps) -> None:
    code = "shared = [1]\na = {'s': shared}\nb = [shared]\nbad = [shared, open('data', 'w')]"
    result = steps.run(code, outputs="a b bad", fails=True)
    assert result["error"]["name"] == "bad"
    assert result["names"]["a"]["digest"] == result["names"]["b"]["digest"]


def test_optional_names_never_fail(steps: Steps) -> None:
    code = """
        import json, numpy as np
        small, big, bad, bar = 1, np.zeros(1000), open('data', 'w'), 2
        def function(): pass
    """
    names = ["small", "big", "bad", "json", "function", "missing"]
    result = steps.run(code, optional=names, optional_limit=1000)
    assert result["error"] is None
    assert set(result["names"]) == {"small"}
    assert {entry["name"]: entry["why"] for entry in result["skipped"]}.keys() == {"big", "bad"}


def test_a_sidecar_that_fails_fails_nothing(steps: Steps) -> None:
    code = "class Rude:\n    def __repr__(self): raise RuntimeError('no')\nx = Rude()"
    assert steps.run(code, outputs="x")["names"]["x"]["sidecar"]["text"].startswith("<Rude>")


def test_full_disk(steps: Steps) -> None:
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        import numpy as np
        a, b = 1, np.zeros(10_000)
    """
    pytest.importorskip("resource")
    result = steps.run(code, outputs="a b", fails=True)
    assert result["error"]["kind"] == "StoreError"
    assert "no space left" in result["error"]["message"]
    assert set(result["names"]) == {"a"}
    assert not list((steps.root / "handover-1" / "out").iterdir())


def test_the_notebook_shows_the_message_alone(tmp_path: pathlib.Path) -> None:
    code = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell("from cellway_magics import artifacts; artifacts.begin({str(tmp_path)!r}, step='s')")
        shell.run_cell("artifacts.save(globals(), 'x')")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "CannotStore: `x` is not bound" in done.stdout
    assert "Traceback" not in done.stdout
    assert "session.py" not in done.stdout


# --- random numbers -------------------------------------------------------------------------------------------------

SEEDED = "import random\nimport numpy as np\nrandom.seed(1)\nnp.random.seed(2)\n"
DRAWS = ["a = random.random(), np.random.rand()", "b = [random.gauss(0, 1), np.random.randn()]", "c = np.random.rand()"]


def test_a_seeded_notebook_draws_on(steps: Steps) -> None:
    whole = f"{SEEDED}" + "\n".join(DRAWS) + "\nprint(a, b, c)"
    expected = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True).stdout.strip()
    state = None
    for draw in DRAWS:
        random = {"seed": 5} if state is None else {"input": state, "seed": 5}
        # The seeds stand in the set-up, as an ambient statement that every step carries.
        result = steps.run(f"{SEEDED}# cells\n{draw}", outputs=draw[0], random=random, draws=True)
        assert result["drew"]
        state = steps.latest[records.RANDOM]
    assert steps.run("# cells\nprint(a, b, c)", reads="a b c")["stdout"] == expected


def test_a_step_that_draws_nothing_hands_nothing_on(steps: Steps) -> None:
    steps.run("import random\n# cells\nx = random.random()", outputs="x", random={"seed": 5}, draws=True)
    given = steps.latest[records.RANDOM]
    result = steps.run("import random\n# cells\ny = 1", outputs="y", random={"input": given, "seed": 5}, draws=True)
    assert not result["drew"]
    assert set(result["names"]) == {"y"}


def test_a_generator_that_a_step_never_imports_is_handed_on(steps: Steps) -> None:
    steps.run("import numpy as np, random\n# cells\nx = np.random.rand()", outputs="x", random={"seed": 5}, draws=True)
    given = steps.latest[records.RANDOM]
    then = "import random\n# cells\ny = random.random()"
    steps.run(then, outputs="y", random={"input": given, "seed": 5}, draws=True)
    given = steps.latest[records.RANDOM]
    late = "# cells\nimport numpy as np\nz = np.random.rand()"
    steps.run(late, outputs="z", random={"input": given, "seed": 5}, draws=True)
    whole = "import numpy as np\nnp.random.seed(5)\nprint(np.random.rand(), np.random.rand())"
    expected = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True).stdout.strip()
    assert steps.run("# cells\nprint(x, z)", reads="x z")["stdout"] == expected


def test_an_unseeded_step_is_seeded_whenever_the_library_comes(steps: Steps) -> None:
    early = "import numpy as np, random\n# cells\nx = np.random.rand(), random.random()"
    late = "# cells\nimport random, numpy as np\nx = np.random.rand(), random.random()"
    prints = {
        steps.run(code, outputs="x", random={"seed": 9})["names"]["x"]["fingerprint"] for code in (early, late, early)
    }
    assert len(prints) == 1
    assert records.RANDOM not in steps.latest


@pytest.mark.parametrize("random", ["state handed over", "own seed"])
def test_libraries_that_draw_while_an_input_is_loaded(random: str, steps: Steps) -> None:
    # rich does so, which scikit-learn imports.
    (steps.work / "lib.py").write_text("import random\nrandom.random()\n\n\nclass Model:\n    pass\n")
    first = "import random, lib\n# cells\nm = lib.Model()\nx = random.random()"
    steps.run(first, outputs="m x", random={"seed": 5}, draws=True)
    given = {"input": steps.latest[records.RANDOM], "seed": 5} if random == "state handed over" else {"seed": 5}
    result = steps.run("# cells\ny = type(m).__name__", reads="m", outputs="y", random=given, draws=True)
    assert result["drew"] is False
    code = "import random\n# cells\ny = random.random()"
    loaded = steps.run(code, reads="m", outputs="y", random=given, draws=True)
    alone = steps.run(code, outputs="y", random=given, draws=True)
    assert loaded["names"]["y"]["fingerprint"] == alone["names"]["y"]["fingerprint"]


# --- files ----------------------------------------------------------------------------------------------------------


def seen(result: dict[str, Any], work: pathlib.Path) -> dict[str, str]:
    return {os.path.relpath(entry["path"], work): entry["digest"] for entry in result["files"]}


MAKE = """
import pandas as pd, pyarrow as pa, pyarrow.parquet as pq, pyarrow.feather, sqlite3, numpy as np, h5py, pickle
df = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
df.to_csv("d.csv", index=False); df.to_parquet("d.parquet"); df.to_json("d.json"); df.to_pickle("d.pkl")
df.to_json("d.ndjson", orient="records", lines=True); df.to_csv("d.csv.gz", index=False)
pyarrow.feather.write_feather(df, "d.feather"); np.save("d.npy", df["a"]); np.savez("d.npz", a=df["a"])
h5py.File("d.h5", "w").create_dataset("a", data=df["a"])
sqlite3.connect("d.sqlite").execute("create table t (a)").connection.commit()
import os; os.mkdir("parts"); df.to_parquet("parts/0.parquet"); df.to_parquet("parts/1.parquet")
with pa.OSFile("d.raw", "wb") as f: f.write(b"raw")
import duckdb; duckdb.connect("d.duckdb").execute("create table t as select 1 as a").close()
open("d.txt", "w").write("text"); open("spaced name.csv", "w").write("a\\n1\\n")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    place = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, "-c", MAKE], cwd=place, check=True)
    return place


def test_duckdb_finds_the_tables_of_its_caller(steps: Steps) -> None:
    steps.run("""
        import duckdb, pandas as pd
        # cells
        t = pd.DataFrame({"a": [1, 2]})
        assert duckdb.sql("select sum(a) from t").fetchall() == [(3,)]
        con = duckdb.connect()
        assert con.execute("select count(*) from t").fetchall() == [(2,)]
        def f():
            u = pd.DataFrame({"a": [5]})
            return duckdb.query("select u.a + t.a from u, t order by 1").fetchall()
        assert f() == [(6,), (7,)]
        con.close()
    """)


@pytest.mark.parametrize(
    ("code", "patterns"),
    [
        ("import os; os.listdir('parts')", "parts/ *"),
        ("import os; list(os.walk('parts'))", "parts/ *"),
        ("import glob; glob.glob('parts/*.parquet')", "parts/ *.parquet"),
        ("import glob; glob.glob('**/*.csv', recursive=True)", "./ **/*.csv"),
        ("import pathlib; list(pathlib.Path('parts').glob('*.x'))", "parts/ *.x"),
        ("import pathlib; list(pathlib.Path('parts').rglob('*.x'))", "parts/ **/*.x"),
        ("import pathlib; list(pathlib.Path('parts').iterdir())", "parts/ *"),
        ("import polars as pl; pl.scan_parquet('parts/*.parquet').collect()", "parts/ *.parquet"),
        ("import os; os.listdir(os.path.dirname(os.__file__))", ""),
        ("import importlib.metadata; list(importlib.metadata.distributions()); import colorsys", ""),
    ],
)
def test_folders_that_a_step_looks_into(code: str, patterns: str, steps: Steps, data: pathlib.Path) -> None:
    import shutil

    shutil.copytree(data, steps.work, dirs_exist_ok=True)
    result = steps.run(f"import os; os.chdir({str(steps.work)!r})\n# cells\n{code}")
    looks = [entry for entry in result["files"] if fingerprint.listed(entry["digest"])]
    found = [(os.path.relpath(entry["path"], steps.work) + "/", fingerprint.listed(entry["digest"])) for entry in looks]
    assert [f"{folder} {look[0]}" for folder, look in found if look] == ([patterns] if patterns else [])
    for entry in looks:
        look = fingerprint.listed(entry["digest"])
        assert look is not None
        assert entry["digest"] == fingerprint.listing(entry["path"], *look)


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("open('d.txt').read()", "d.txt"),
        ("import os; os.close(os.open('d.txt', os.O_RDONLY))", "d.txt"),
        ("import pathlib; pathlib.Path('d.txt').read_bytes()", "d.txt"),
        ("import pandas as pd; pd.read_csv('d.csv')", "d.csv"),
        ("import pandas as pd; pd.read_csv('d.csv', engine='pyarrow')", "d.csv"),
        ("import pandas as pd; pd.read_csv('d.csv.gz')", "d.csv.gz"),
        ("import pandas as pd; pd.read_parquet('d.parquet')", "d.parquet"),
        ("import pandas as pd; pd.read_parquet('parts')", "parts parts/0.parquet parts/1.parquet"),
        ("import pandas as pd; pd.read_feather('d.feather')", "d.feather"),
        ("import pandas as pd; pd.read_json('d.json')", "d.json"),
        ("import pandas as pd; pd.read_pickle('d.pkl')", "d.pkl"),
        ("import numpy as np; np.load('d.npy'); np.load('d.npz')", "d.npy d.npz"),
        ("import numpy as np; np.load('d.npy', mmap_mode='r')", "d.npy"),
        ("import pyarrow.parquet as pq; pq.read_table('d.parquet')", "d.parquet"),
        ("import pyarrow.parquet as pq; pq.ParquetFile('d.parquet').read()", "d.parquet"),
        ("import pyarrow.csv as pc; pc.read_csv('d.csv')", "d.csv"),
        ("import pyarrow.json as pj; pj.read_json('d.ndjson')", "d.ndjson"),
        ("import pyarrow.feather as pf; pf.read_table('d.feather')", "d.feather"),
        ("import pyarrow.dataset as ds; ds.dataset('parts').to_table()", "parts parts/0.parquet parts/1.parquet"),
        ("import pyarrow as pa; pa.memory_map('d.raw').read()", "d.raw"),
        ("import pyarrow as pa; f = pa.OSFile('d.raw'); assert isinstance(f, pa.OSFile); f.read()", "d.raw"),
        ("import polars as pl; pl.read_csv('d.csv')", "d.csv"),
        ("import polars as pl; pl.scan_csv('d.csv').collect()", "d.csv"),
        ("import polars as pl; pl.read_parquet('parts/*.parquet')", "parts parts/0.parquet parts/1.parquet"),
        ("import polars as pl; pl.scan_parquet(['parts/0.parquet']).collect()", "parts/0.parquet"),
        ("import polars as pl; pl.read_ndjson('d.ndjson')", "d.ndjson"),
        ("from polars import read_csv; read_csv(source='d.csv')", "d.csv"),
        ("import duckdb; duckdb.sql(\"select * from 'd.csv'\").fetchall()", "d.csv"),
        ("import duckdb; duckdb.read_parquet('d.parquet').fetchall()", "d.parquet"),
        ("import duckdb; duckdb.connect().execute(\"from read_csv('spaced name.csv')\")", "spaced name.csv"),
        ("import duckdb; duckdb.connect('d.duckdb', read_only=True).execute('select * from t')", "d.duckdb"),
        ("import duckdb; duckdb.sql(\"from 'parts/*.parquet'\").fetchall()", "parts parts/0.parquet parts/1.parquet"),
        ("import h5py; h5py.File('d.h5')['a'][:]", "d.h5"),
        ("import h5py\nwith h5py.File('d.h5', 'r') as f: list(f)", "d.h5"),
        ("import sqlite3; sqlite3.connect('d.sqlite').execute('select * from t')", "d.sqlite"),
        ("open('new', 'w').write('x'); open('new').read()", ""),
        ("import polars as pl; pl.DataFrame({'a': [1]}).write_csv('new.csv'); pl.read_csv('new.csv')", ""),
        ("import pandas as pd; pd.DataFrame({'a': [1]}).to_parquet('n.parquet'); pd.read_parquet('n.parquet')", ""),
        ("import h5py; h5py.File('new.h5', 'w').close(); h5py.File('new.h5').close()", ""),
        ("import tempfile; f = tempfile.NamedTemporaryFile('w+'); f.write('x'); open(f.name).read()", ""),
        ("import json, decimal, zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin')", ""),
        ("from matplotlib.figure import Figure; Figure().savefig('plot.png')", ""),
    ],
)
def test_files_that_a_step_reads(code: str, files: str, steps: Steps, data: pathlib.Path) -> None:
    import shutil

    shutil.copytree(data, steps.work, dirs_exist_ok=True)
    result = steps.run(code)
    expected = ["spaced name.csv"] if files == "spaced name.csv" else files.split()
    found = seen(result, steps.work)
    assert sorted(found) == expected
    for name in expected:
        path = steps.work / name  # of a folder, what is in it
        assert path.is_dir() or found[name] == fingerprint.file(str(path))


def test_a_file_that_changes_while_the_step_runs_never_matches(steps: Steps) -> None:
    (steps.work / "d.txt").write_text("old")
    result = steps.run("import os, pathlib\nopen('d.txt').read()\nos.system('echo newer > d.txt')")
    assert seen(result, steps.work) == {"d.txt": ""}
    assert result["touched"] == ["subprocess"]


def test_a_project_behind_a_link(tmp_path: pathlib.Path) -> None:
    steps = Steps(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(steps.work)
    (steps.work / "d.txt").write_text("text")
    result = steps.run("open('d.txt').read()", root=str(link), workdir=str(link))
    assert seen(result, steps.work).keys() == {"d.txt"}


def test_a_file_that_is_not_there(steps: Steps) -> None:
    code = "try: open('maybe.txt')\nexcept FileNotFoundError: pass"
    assert seen(steps.run(code), steps.work) == {"maybe.txt": ""}


def test_a_file_that_the_step_updates(steps: Steps) -> None:
    (steps.work / "log.txt").write_text("old")
    (steps.work / "more.txt").write_text("old")
    result = steps.run("open('log.txt', 'r+').read(); open('more.txt', 'a').write('x')")
    assert set(seen(result, steps.work)) == {"log.txt"}


@pytest.mark.parametrize(
    ("code", "written", "read"),
    [
        ("open('new.txt', 'w').write('x')", "new.txt", ""),
        ("open('old.txt', 'a').write('x')", "old.txt+", ""),
        ("open('old.txt', 'r+').write('x')", "old.txt+", "old.txt"),
        ("open('old.txt', 'r+').close()", "", "old.txt"),
        ("t = open('old.txt').read()\nopen('old.txt', 'w').write(t)", "old.txt", "old.txt"),
        ("import pathlib\npathlib.Path('sub').mkdir()", "", ""),
        ("import os\nopen('t.tmp', 'w').write('x')\nos.replace('t.tmp', 'new.txt')", "new.txt", ""),
        ("import os\nopen('t.tmp', 'w').write('x')\nos.remove('t.tmp')", "", ""),
        ("import os\nos.remove('old.txt')", "old.txt-", ""),
        ("import os\nopen('old.txt').read()\nos.remove('old.txt')", "old.txt-", "old.txt"),
        ("import os\nos.rename('folder', 'moved')", "folder/a.txt- moved/a.txt", ""),
        ("import shutil\nshutil.rmtree('folder')", "folder/a.txt-", ""),
        ("import shutil\nshutil.copy('old.txt', 'new.txt')", "new.txt", "old.txt"),
        ("import shutil\nshutil.move('old.txt', 'folder')", "folder/old.txt old.txt-", ""),
        ("file = open('new.txt', 'w')\nfile.write('held back')", "new.txt", ""),
        ("import sqlite3\nwith sqlite3.connect('db') as c:\n    c.execute('create table t (x)')", "db+", ""),
        ("import pandas as pd\npd.DataFrame({'a': [1]}).to_csv('new.csv')", "new.csv", ""),
        ("import pandas as pd\npd.DataFrame({'a': [1]}).to_parquet('new.parquet')", "new.parquet", ""),
        (
            "import pandas as pd\npd.DataFrame({'a': [1], 'k': [2]}).to_parquet('parts', partition_cols=['k'])",
            "parts/k=2/*.parquet",
            "",
        ),
        ("import pyarrow as pa, pyarrow.csv as c\nc.write_csv(pa.table({'a': [1]}), 'new.csv')", "new.csv", ""),
        ("import pyarrow as pa\nwith pa.OSFile('new.raw', 'wb') as file:\n    file.write(b'x')", "new.raw", ""),
        ("import polars as pl\npl.DataFrame({'a': [1]}).write_parquet('new.parquet')", "new.parquet", ""),
        ("import duckdb\nduckdb.sql(\"copy (select 1) to 'new.csv'\")", "new.csv", ""),
        ("import duckdb\nduckdb.sql('select 1').write_parquet('new.parquet')", "new.parquet", ""),
        ("import h5py\nwith h5py.File('new.h5', 'w') as file:\n    file['a'] = [1]", "new.h5", ""),
    ],
)
def test_files_that_a_step_writes(code: str, written: str, read: str, steps: Steps) -> None:
    (steps.work / "old.txt").write_text("old")
    (steps.work / "folder").mkdir()
    (steps.work / "folder" / "a.txt").write_text("a")
    old = fingerprint.file(steps.work / "old.txt")
    result = steps.run(code)
    found = []
    for entry in result["written"]:
        path = pathlib.Path(entry["path"])
        name = path.relative_to(steps.work).as_posix()
        assert entry["digest"] == (fingerprint.file(path) if path.exists() else "")
        mark = "+" if entry["added"] else "" if path.exists() else "-"
        found.append(("parts/k=2/*.parquet" if name.startswith("parts/k=2/") else name) + mark)
    assert found == written.split()
    assert seen(result, steps.work) == dict.fromkeys(read.split(), old)


def test_modules_that_a_step_imports(steps: Steps) -> None:
    (steps.work / "lib.py").write_text("x = 1\n")
    result = steps.run("import json, lib")
    assert result["files"] == []
    module = str(steps.work / "lib.py")
    assert result["imported"] == [{"path": module, "digest": fingerprint.file(module)}]
    result = steps.run("open('own.py', 'w').write('x = 1')\nimport own")
    assert result["imported"] == []


def test_declared_files(steps: Steps) -> None:
    (steps.work / "data").mkdir()
    for name in ("data/a.csv", "data/b.csv", "other.csv"):
        (steps.work / name).write_text("a\n1\n")
    code = "import os\nopen('data/a.csv').read(); open(os.path.abspath('other.csv')).read()"
    result = steps.run(code, declared=["data/*.csv"])
    declared = {os.path.relpath(entry["path"], steps.work): entry["declared"] for entry in result["files"]}
    assert declared == {"data/a.csv": True, "other.csv": False}


def test_what_does_not_count(steps: Steps) -> None:
    (steps.work / ".git").mkdir()
    (steps.work / ".git" / "HEAD").write_text("x")
    (steps.work / "helper.py").write_text("value = 1\n")
    result = steps.run("import helper, os\nopen('.git/HEAD').read(); open('/proc/self/status').read()")
    assert result["files"] == []


@pytest.mark.parametrize(
    ("code", "touched"),
    [
        ("import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass", ["network"]),
        ("import subprocess; subprocess.run(['true'])", ["subprocess"]),
        ("import socket, tempfile, os\ns = socket.socketpair()", []),
        ("import pathlib; pathlib.Path('x').exists()", []),
    ],
)
def test_beyond_files(code: str, touched: list[str], steps: Steps) -> None:
    assert steps.run(code)["touched"] == touched


def test_a_helper_that_is_edited_twice_in_a_second(steps: Steps) -> None:
    helper = steps.work / "helper.py"
    (steps.work / "package").mkdir()
    (steps.work / "package" / "__init__.py").write_text("from package.inner import value\n")
    inner = steps.work / "package" / "inner.py"
    for number in "123":
        for path in (helper, inner):
            path.write_text(f"value = {number}\n")
            os.utime(path, (1_700_000_000, 1_700_000_000))
        steps.run("import helper, package\nx = helper.value, package.value", outputs="x")
        assert steps.run("# cells\nprint(x)", reads="x")["stdout"] == f"({number}, {number})"
    assert not list(steps.work.rglob("*.pyc"))


# --- the rest -------------------------------------------------------------------------------------------------------


def test_environment(steps: Steps) -> None:
    import importlib.metadata

    result = steps.run("import pandas, sklearn, PIL, yaml")
    for name in ("pandas", "numpy", "scikit_learn", "pillow", "PyYAML"):
        (found,) = [version for each, version in result["environment"].items() if each.lower() == name.lower()]
        assert found == importlib.metadata.version(name)
    assert not {"cellway", "ipykernel", "blake3", "cloudpickle"} & {name.lower() for name in result["environment"]}
    assert "pandas" not in steps.run("x = 1")["environment"]


def test_heavy_modules_are_not_imported_for_light_values(steps: Steps) -> None:
    steps.run("x = {'a': [1, 2.5, 'b']}", outputs="x")
    code = """
        HEAVY = {"pandas", "numpy", "pyarrow", "nbformat", "IPython", "papermill", "cloudpickle", "cellway.records"}
        # cells
        import atexit, sys
        y = [x]
        atexit.register(lambda: print(sorted(HEAVY & sys.modules.keys())))
    """
    assert steps.run(code, reads="x", outputs="y", later=["x"])["stdout"] == "[]"


def test_signed_pickles(steps: Steps) -> None:
    key = "ab" * 32
    steps.run("x = (1, 2)\ny = [1]", outputs="x y", sign_key=key)
    assert "signature" in steps.latest["x"]["sidecar"]
    assert "signature" not in steps.latest["y"]["sidecar"], "reading JSON runs no code"
    assert steps.run("# cells\nprint(x, y)", reads="x y", sign_key=key)["stdout"] == "(1, 2) [1]"
    del steps.latest["x"]["sidecar"]["signature"]
    with pytest.raises(FileNotFoundError):
        steps.run("# cells\nprint(x)", reads="x", sign_key=key, fails=True)
    assert "`x` is not signed" in steps.stderr
    assert "fix: run the step that makes it with this project's key" in steps.stderr


def test_a_plugin_comes_first(steps: Steps) -> None:
    (steps.work / "plug.py").write_text(
        textwrap.dedent("""
            class Shouting:
                name, suffix, executes = "shouting", ".txt", False
                def accepts(self, value): return type(value) is str and value.isupper()
                def write(self, value, file): file.write(value.encode())
                def read(self, path): return open(path).read()
                def describe(self, value): return {"text": value}
        """)
    )
    plug = {"materializers": ["plug:Shouting"]}
    result = steps.run("x, y = 'LOUD', 'quiet'", outputs="x y", **plug)
    assert [result["names"][name]["materializer"] for name in "xy"] == ["shouting", "json"]
    assert steps.run("# cells\nprint(x)", reads="x", **plug)["stdout"] == "LOUD"


def test_the_name_of_the_random_state_is_the_records() -> None:
    assert folder.RANDOM == records.RANDOM


# --- the plain form -------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: pathlib.Path) -> Callable[..., str]:
    def run(code: str, begin: str = "", *, fails: bool = False) -> str:
        lines = f"from cellway_magics import artifacts\nartifacts.begin('artifacts', step='s'{begin})\n"
        lines += textwrap.dedent(code)
        done = subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout.strip() if not fails else done.stderr

    return run


def test_plain_form(plain: Callable[..., str], tmp_path: pathlib.Path) -> None:
    assert plain("x, y = [1], 'text'\nartifacts.save(globals(), 'x', 'y')") == ""
    index = json.loads((tmp_path / "artifacts" / "index.json").read_text())
    assert index["x"]["path"] == f"x-{index['x']['digest'][:12]}.json"
    assert (tmp_path / "artifacts" / index["x"]["path"]).read_text() == "[1]"
    code = "x = artifacts.load('x')\nx.append(2)\nartifacts.save(globals())"
    plain(code, ", watch=['x'], later=['x']")
    assert plain("x, y = artifacts.load('x', 'y')\nprint(x, y)") == "[1, 2] text"
    names = {path.name for path in (tmp_path / "artifacts").iterdir() if not path.name.startswith(".")}
    index = json.loads((tmp_path / "artifacts" / "index.json").read_text())
    assert names == {"index.json", index["x"]["path"], index["y"]["path"]}, "what nothing refers to is removed"


def test_plain_form_keeps_bundles_and_generators(plain: Callable[..., str]) -> None:
    begin = ", draws=True"
    seed = "import random\nrandom.seed(3)\nartifacts.load()\n"
    plain(f"{seed}x = [random.random()]\ny = {{'x': x}}\nartifacts.save(globals(), 'x', 'y')", begin)
    code = f"{seed}x = artifacts.load('x')\nx.append(random.random())\nartifacts.save(globals(), 'x')"
    plain(code, f"{begin}, later=['x', 'y']")
    whole = "import random\nrandom.seed(3)\nprint([random.random(), random.random()])"
    expected = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True).stdout.strip()
    assert plain("x, y = artifacts.load('x', 'y')\nprint(y['x'] is x, x)") == f"True {expected}"


def test_plain_form_errors(plain: Callable[..., str], tmp_path: pathlib.Path) -> None:
    assert "needs `x`" in plain("artifacts.load('x')", fails=True)
    assert "not bound" in plain("y = 1\nartifacts.save(globals(), 'x', 'y')", fails=True)
    assert plain("print(artifacts.load('y'))") == "1"
    (tmp_path / "artifacts" / "index.json").write_text("{")
    assert "index.json is damaged" in plain("", fails=True)
    done = subprocess.run(
        [sys.executable, "-c", "from cellway_magics import artifacts\nartifacts.load('x')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "has not been started" in done.stderr


def test_two_plain_steps_at_once(tmp_path: pathlib.Path) -> None:
    code = "from cellway_magics import artifacts\nimport sys\nfor i in range(15):\n    artifacts.begin('a', step='s')\n"
    code += "    name = sys.argv[1] + str(i)\n    artifacts.load()\n    globals()[name] = i\n"
    code += "    artifacts.save(globals(), name)"
    running = [subprocess.Popen([sys.executable, "-c", code, name], cwd=tmp_path) for name in ("p", "q")]
    assert [process.wait() for process in running] == [0, 0]
    assert len(json.loads((tmp_path / "a" / "index.json").read_text())) == 30
