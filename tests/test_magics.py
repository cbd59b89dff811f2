"""The magics in real shells: a kernel behind jupyter_client, and an IPython of its own process."""

import json
import re
import subprocess
import sys

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from cellway.notebook.options import OPTIONS


class Kernel:
    """A kernel with cellway loaded; ``run`` gives what a notebook would show."""

    def __init__(self, load="%load_ext cellway"):
        self.manager, self.client = start_new_kernel(kernel_name="python3")
        assert self.run(load)["status"] == "ok"

    def run(self, code):
        shown = {"streams": "", "results": [], "display": [], "errors": []}

        def hook(message):
            content, kind = message["content"], message["msg_type"]
            if kind == "stream":
                shown["streams"] += content["text"]
            elif kind == "execute_result":
                shown["results"].append(content["data"]["text/plain"])
            elif kind == "error":
                shown["errors"].append(content)

        reply = self.client.execute_interactive(code, output_hook=hook, timeout=60)
        return {**shown, "status": reply["content"]["status"], "count": reply["content"]["execution_count"]}

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel():
    made = Kernel()
    yield made
    made.stop()


def plain(lines):
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


@pytest.mark.parametrize(
    "magic", ["%%parameters", "%%setup", "%%step a", "%%test a", "%%skip", "%%step a --timeout 5m"]
)
@pytest.mark.parametrize(
    ("body", "results", "streams"),
    [
        ("x = 20\nx + 1", ["21"], ""),
        ("x = 20\nx + 1;", [], ""),
        ("print('hi')", [], "hi\n"),
        ("import asyncio\nawait asyncio.sleep(0)\n7", ["7"], ""),
        ("'''a\n\nb'''", ["'a\\n\\nb'"], ""),
        ("!echo shell", [], "shell\n"),
        ("%%capture out\nprint(1)", [], ""),
        ("\n%%capture out\nprint(1)", [], ""),
        ("from __future__ import annotations\n5", ["5"], ""),
        ("", [], ""),
        ("# only a comment", [], ""),
    ],
)
def test_a_tagged_cell_runs_as_if_the_magic_were_not_there(kernel, magic, body, results, streams):
    for source in (f"{magic}\n{body}", f"# why\n\n{magic}\n{body}"):
        shown = kernel.run(source)
        assert (shown["status"], shown["errors"]) == ("ok", [])
        assert (shown["results"], shown["streams"].replace("\r", "")) == (results, streams)


def test_underscore_out_and_history(kernel):
    first = kernel.run("%%step a\n41 + 1")
    assert kernel.run("_")["results"] == ["42"]
    assert kernel.run(f"Out[{first['count']}]")["results"] == ["42"]
    assert kernel.run(f"In[{first['count']}]")["results"] == ["'# %%step a\\n41 + 1'"]
    raw = kernel.run("list(get_ipython().history_manager.get_range(raw=True))[-1][-1]")
    assert raw["count"] == first["count"] + 4
    asked = f"[text for _, n, text in get_ipython().history_manager.get_range(raw=True) if n == {first['count']}]"
    assert kernel.run(asked)["results"] == ["['%%step a\\n41 + 1']"]


def test_an_error_shows_the_author_s_line_and_nothing_of_cellway(kernel):
    shown = kernel.run("# why\n%%step a\nx = 1\n\ndef f():\n    return 1 / 0\n\nf()")
    (error,) = shown["errors"]
    text = plain(error["traceback"])
    assert (shown["status"], error["ename"]) == ("error", "ZeroDivisionError")
    assert "cellway_magics" not in text
    assert "line 8" in text.replace(":8", " line 8")
    assert "----> 8 f()" in text
    assert "----> 6     return 1 / 0" in text


def test_a_syntax_error_has_the_right_line(kernel):
    (error,) = kernel.run("%%step a\nx = 1\nx = = 2")["errors"]
    assert error["ename"] == "SyntaxError"
    assert "line 3" in error["evalue"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("%%step\nwrong = 1", "`%%step` needs a name"),
        ("%%step a --tmieout 5\nwrong = 1", "did you mean `--timeout`?"),
        ("%%step a --timeout soon\nwrong = 1", "`timeout` takes a time"),
        ("%%setup now\nwrong = 1", "stands alone"),
        ("%%test\nwrong = 1", "needs the step"),
        ("wrong = 1\n%%step a", "line 2: `%%step` is not the first line"),
        ("%%capture out\n%%step a\nwrong = 1", "line 2: `%%step` is not the first line"),
        ("%step a\nwrong = 1", "two percent signs"),
        ("get_ipython().run_cell_magic('step', '', 'wrong = 1')", "needs a name"),
    ],
)
def test_a_wrong_line_is_a_short_error_and_nothing_runs(kernel, source, said):
    kernel.run("wrong = 0")
    shown = kernel.run(source)
    (error,) = shown["errors"]
    assert (shown["status"], error["ename"]) == ("error", "UsageError")
    text = plain(error["traceback"])
    assert said in text
    assert "Traceback" not in text
    assert len(text.split("\n")) <= 2
    assert kernel.run("wrong")["results"] == ["0"]


def test_called_by_name_it_runs_the_cell(kernel):
    assert kernel.run("get_ipython().run_cell_magic('step', 'a', 'y = 3\\ny')")["results"] == ["3"]
    shown = kernel.run("get_ipython().run_cell_magic('step', 'a', '1/0')")
    assert [error["ename"] for error in shown["errors"]] == ["ZeroDivisionError", "UsageError"]
    assert shown["status"] == "error"


def test_help_completion_and_completeness(kernel):
    def reply(kind, *arguments):
        message = getattr(kernel.client, kind)(*arguments)
        while (answer := kernel.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != message:
            pass
        return answer["content"]

    assert "%%step" in reply("complete", "%%st", 4)["matches"]
    assert reply("complete", "%%step a --re", 13)["matches"] == ["--retries", "--reads"]
    assert reply("complete", "%%step a --no-cache --", 22)["matches"] == [f"--{name}" for name in OPTIONS]
    assert "--reads" not in reply("complete", "x = --re", 8)["matches"]
    assert "repr" in reply("complete", "%%step a\nrep", 12)["matches"]
    assert reply("is_complete", "%%step a --wrong")["status"] in {"complete", "incomplete"}
    message = kernel.client.execute("%%step?")
    while (answer := kernel.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != message:
        pass
    (page,) = answer["content"]["payload"]
    for name in OPTIONS:
        assert f"--{name}" in page["data"]["text/plain"]


@pytest.mark.parametrize("again", ["%load_ext cellway", "%reload_ext cellway", "%reload_ext cellway_magics"])
def test_loading_again_changes_nothing(kernel, again):
    kernel.run(again)
    kernel.run("transformers = get_ipython().input_transformers_cleanup")
    assert kernel.run("sum(getattr(t, '__name__', '') == 'strip_magic' for t in transformers)")["results"] == ["1"]
    assert kernel.run("%%step a\n1")["results"] == ["1"]


def test_unloading_takes_it_away():
    made = Kernel("%load_ext cellway_magics")
    try:
        assert made.run("%%step a\n1")["results"] == ["1"]
        made.run("%unload_ext cellway_magics")
        assert "not found" in made.run("%%step a\n1")["streams"]
    finally:
        made.stop()


def test_a_notebook_run_headless_stops_at_a_wrong_line_with_an_error_output():
    sources = ["%load_ext cellway", "%%step a\nx = 1\nx", "%%step a --wrong\ny = 1"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.raises(CellExecutionError, match="no option `--wrong`"):
        NotebookClient(made, kernel_name="python3", timeout=60).execute()
    assert made.cells[1].outputs[0]["data"]["text/plain"] == "1"
    assert made.cells[2].outputs[0]["ename"] == "UsageError"


def test_a_terminal_shell_and_its_imports():
    script = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "cellway")
new = sorted(set(sys.modules) - before)
result = shell.run_cell("%%step a\\nx = 2\\nx * 21", store_history=True)
print("@@" + json.dumps([new, result.result, shell.check_complete("%%step a\\nfor x in y:")[0]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    new, result, complete = json.loads(done.stdout.split("@@")[1])
    assert (result, complete) == (42, "incomplete")
    # What loading costs is what it imports: nothing beyond these modules, the standard library and IPython's loader.
    ours = {name for name in new if name.split(".")[0].startswith("cellway")}
    assert ours <= {
        "cellway",
        "cellway.errors",
        "cellway.notebook",
        "cellway.notebook.grammar",
        "cellway.notebook.options",
        "cellway.notebook.quotes",
        "cellway_magics",
        "cellway_magics.magics",
    }
    assert {name.split(".")[0] for name in set(new) - ours} <= {*sys.stdlib_module_names, "IPython"}
