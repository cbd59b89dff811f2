"""`make demo`: a notebook becomes a pipeline, runs, runs again in no time, and in part when a parameter changes.

Every command below is the one a user types, with its real output. The folder `demo-output` is made anew.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "demo-output"
NOTEBOOK = "tumours.ipynb"
WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 100)
COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS else text


def tell(text: str) -> None:
    print()
    for line in textwrap.wrap(text, WIDTH):
        print(styled(line, "1"))


def cellway(*words: str) -> None:
    """Run the real command of this interpreter's environment; stop the demonstration if it fails."""
    print(styled(f"\n$ cellway {' '.join(words)}", "36"), flush=True)
    program = Path(sys.executable).with_name("cellway.exe" if os.name == "nt" else "cellway")
    code = subprocess.run([str(program), *words], cwd=TARGET, check=False).returncode
    if code:
        sys.exit(f"the demonstration stopped: `cellway {words[0]}` ended with exit code {code}")


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    shutil.copy(HERE / NOTEBOOK, TARGET / NOTEBOOK)
    (TARGET / "cellway.toml").write_text("# Marks this folder as a project of its own; settings would stand here.\n")

    tell("A data scientist's notebook, in which some cells begin with `%%step NAME`. Can it be a pipeline?")
    cellway("check", NOTEBOOK)
    tell("What flows from step to step was found by reading the code:")
    cellway("show", NOTEBOOK)
    tell("Run it. Each step is a notebook of its own, executed by papermill; independent steps run side by side.")
    cellway("run", NOTEBOOK)
    tell("Run it again. Nothing changed, so nothing runs:")
    cellway("run", NOTEBOOK)
    tell("What would a forest of 300 trees take?")
    cellway("plan", NOTEBOOK, "-p", "n_trees=300")
    tell("Load, clean, features and the two other models do not depend on it. So:")
    cellway("run", NOTEBOOK, "-p", "n_trees=300")
    tell("A while later somebody asks why that step ran:")
    cellway("why", "forest")
    tell("What the steps left is kept, with a look inside that loads nothing:")
    cellway("artifacts", "compare")
    cellway("show", "compare.scores")
    cellway("export", "compare.scores", "-o", "scores.csv")
    cellway("export", "figure.figure", "-o", "figure.png")
    cellway("export", "report.report", "-o", "report.md")

    tell("The report that this run wrote:")
    print()
    for line in (TARGET / "report.md").read_text(encoding="utf-8").splitlines():
        print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="  "))
    tell("Where to look next")
    folder = TARGET.relative_to(Path.cwd()) if TARGET.is_relative_to(Path.cwd()) else TARGET
    runs = sorted((TARGET / ".cellway" / "runs").iterdir())
    for path, what in (
        (folder / "figure.png", "the figure"),
        (folder / runs[-1].relative_to(TARGET), "the executed notebook of each step"),
        (folder / NOTEBOOK, "edit a cell of it, then `cellway plan` there"),
        ("docs/tutorial.md", "from a notebook of your own to a pipeline"),
    ):
        print(f"  {path!s:<48} {what}")


if __name__ == "__main__":
    main()
