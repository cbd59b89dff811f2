"""What can be typed: every command with its arguments and options.

One table. The parser, the help texts, shell completion and the test of the docs go by it. Plain classes: it is read on
every call, the fully cached ones included.
"""

from __future__ import annotations


class Argument:
    """A word of a command that is not an option.

    Attributes:
        name: what stands for it in help texts.
        kind: what it is, for completion: ``notebook``, ``step``, ``run``, ``artifact``, ``shell``, ``command``.
        required: whether it must be given.
    """

    __slots__ = ("help", "kind", "name", "required")

    def __init__(self, name: str, kind: str, help: str, required: bool = True) -> None:  # noqa: A002 - reads as a table
        self.name = name
        self.kind = kind
        self.help = help
        self.required = required


class Option:
    """An option of a command.

    Attributes:
        name: with its dashes.
        short: one letter with its dash, or "".
        value: what stands for the value, "" for a flag.
        kind: what the value is, for completion.
        many: may be given more than once.
        optional: the value may be left out.
    """

    __slots__ = ("help", "kind", "many", "name", "optional", "short", "value")

    def __init__(
        self,
        name: str,
        value: str,
        help: str,  # noqa: A002 - reads as a table
        *,
        short: str = "",
        kind: str = "",
        many: bool = False,
        optional: bool = False,
    ) -> None:
        self.name = name
        self.short = short
        self.value = value
        self.help = help
        self.kind = kind
        self.many = many
        self.optional = optional


class Command:
    """A command.

    Attributes:
        module: of :mod:`cellway.cli`, where the function named like the command is.
        summary: one line for the list of commands.
        text: what its own help adds.
        examples: lines to type.
    """

    __slots__ = ("arguments", "examples", "group", "module", "name", "options", "summary", "text")

    def __init__(
        self,
        name: str,
        group: str,
        module: str,
        summary: str,
        *,
        arguments: tuple[Argument, ...] = (),
        options: tuple[Option, ...] = (),
        text: str = "",
        examples: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.group = group
        self.module = module
        self.summary = summary
        self.arguments = arguments
        self.options = (*options, *COMMON)
        self.text = text
        self.examples = examples

    def option(self, written: str) -> Option | None:
        """The option by its long or short name."""
        return next((option for option in self.options if written and written in {option.name, option.short}), None)


COMMON = (
    Option(
        "--project", "DIR", "the project's folder; the one around the notebook, or around here, without it", kind="file"
    ),
    Option("--json", "", "print JSON instead of text"),
    Option("--debug", "", "show cellway's own traceback when something goes wrong"),
    Option("--help", "", "show this help", short="-h"),
)

_NOTEBOOK = Argument("NOTEBOOK", "notebook", "a notebook (.ipynb, or a percent script .py)")
_SOURCE = Argument("NOTEBOOK", "notebook", "a notebook, or a folder written by `cellway convert`")
_RUN = Option("--run", "RUN", "of this run: an id or its beginning; the last one without it", kind="run")
_PARAMETERS = (
    Option("--parameter", "NAME=VALUE", "set a parameter", short="-p", kind="parameter", many=True),
    Option("--parameters", "FILE", "set the parameters of a JSON, YAML or TOML file", kind="file", many=True),
)
_SELECTION = (
    Option(
        "--from",
        "STEP",
        "these steps and what comes after them; the rest is taken from the cache",
        kind="step",
        many=True,
    ),
    Option("--until", "STEP", "these steps and what they need", kind="step", many=True),
    Option("--only", "STEP", "these steps alone (commas between several)", kind="step", many=True),
    Option(
        "--no-cache",
        "[STEP,...]",
        "run steps though nothing changed: those named, else all",
        kind="step",
        many=True,
        optional=True,
    ),
)
_SEED = Option("--seed", "N", "seed of the pipeline, for steps that the notebook itself does not seed")

_ALL = (
    Command(
        "init",
        "notebook",
        "notebooks",
        "propose steps for a plain notebook, and write them",
        arguments=(_NOTEBOOK,),
        options=(
            Option("--write", "", "write the proposal into the notebook without asking", short="-w"),
            Option("--tags", "", "write cell tags instead of magics"),
        ),
        text="Steps are proposed from headings and data flow. It asks before it writes; --write answers.",
        examples=("cellway init analysis.ipynb", "cellway init analysis.ipynb --write --tags"),
    ),
    Command(
        "check",
        "notebook",
        "notebooks",
        "say whether the notebook becomes a pipeline, and what stands in the way",
        arguments=(_SOURCE,),
        examples=("cellway check analysis.ipynb",),
    ),
    Command(
        "show",
        "notebook",
        "showing",
        "show the graph of a notebook, or what is known of an artifact",
        arguments=(Argument("WHAT", "notebook or artifact", "a notebook, a converted folder, or an artifact"),),
        options=(
            Option("--svg", "", "the graph as SVG"),
            Option("--mermaid", "", "the graph as Mermaid text"),
            Option(
                "--output",
                "FILE",
                "write to this file (.svg, .mmd, .txt; the picture of an artifact as .png)",
                short="-o",
                kind="file",
            ),
            _RUN,
        ),
        text="An artifact is NAME, STEP.NAME, RUN:STEP.NAME or the beginning of its fingerprint (`cellway artifacts`).",
        examples=(
            "cellway show analysis.ipynb",
            "cellway show analysis.ipynb --svg -o graph.svg",
            "cellway show train.model",
        ),
    ),
    Command(
        "plan",
        "run",
        "planning",
        "say what a run would do, and why",
        arguments=(_SOURCE,),
        options=(
            *_PARAMETERS,
            *_SELECTION,
            _SEED,
            Option("--svg", "FILE", "draw the plan: what is reused, and what will run", kind="file"),
            Option("--diff", "", "show the whole difference of changed code"),
        ),
        examples=("cellway plan analysis.ipynb", "cellway plan analysis.ipynb -p n_trees=300 --diff"),
    ),
    Command(
        "run",
        "run",
        "running",
        "run the pipeline; what is cached is not run again",
        arguments=(Argument("NOTEBOOK", "notebook", _SOURCE.help, required=False),),
        options=(
            *_PARAMETERS,
            *_SELECTION,
            _SEED,
            Option("--jobs", "N", "steps that may run at the same time", short="-j"),
            Option("--keep-going", "", "when a step fails, still run what does not need it", short="-k"),
            Option(
                "--resume",
                "RUN",
                "continue a run that was cancelled, failed or died; no notebook is named then",
                kind="run",
            ),
            Option("--quiet", "", "print the last line only", short="-q"),
        ),
        text="A parameter is taken from -p, else from the last --parameters file that has it, else from the "
        "environment variable CELLWAY_PARAM_<NAME>, else from the notebook.",
        examples=(
            "cellway run analysis.ipynb",
            'cellway run analysis.ipynb -p n_trees=300 -p \'labels=["a", "b"]\' --jobs 4',
            "cellway run analysis.ipynb --only train --no-cache train",
            "cellway run --resume last",
        ),
    ),
    Command(
        "convert",
        "run",
        "notebooks",
        "write the pipeline as a folder of papermill notebooks",
        arguments=(_NOTEBOOK,),
        options=(
            Option("--output", "DIR", "the folder to write", short="-o", kind="file"),
            Option("--standalone", "", "a folder that runs without cellway installed"),
            Option("--overwrite", "", "replace what an earlier convert wrote there"),
        ),
        examples=(
            "cellway convert analysis.ipynb -o pipeline",
            "cellway convert analysis.ipynb -o pipeline --standalone",
        ),
    ),
    Command(
        "runs",
        "look",
        "history",
        "list the last runs",
        arguments=(Argument("NOTEBOOK", "notebook", "of this notebook only", required=False),),
        options=(
            Option("--limit", "N", "how many; 20 without it", short="-n"),
            Option("--status", "STATUS", "only completed, cached, failed, cancelled or running ones", kind="status"),
        ),
    ),
    Command(
        "why",
        "look",
        "history",
        "say why a step ran, or why it did not",
        arguments=(Argument("STEP", "step", "a step of the run"),),
        options=(_RUN, Option("--diff", "", "show the whole difference of changed code")),
        examples=("cellway why train", "cellway why train --run 20260114"),
    ),
    Command(
        "logs",
        "look",
        "history",
        "show what a step printed",
        arguments=(Argument("STEP", "step", "a step of the run; all of them without it", required=False),),
        options=(_RUN,),
        examples=("cellway logs train",),
    ),
    Command(
        "artifacts",
        "look",
        "showing",
        "list what the steps left",
        arguments=(Argument("STEP", "step", "of this step only", required=False),),
        options=(_RUN,),
        examples=("cellway artifacts", "cellway artifacts train"),
    ),
    Command(
        "export",
        "look",
        "showing",
        "write an artifact to a file in a common format",
        arguments=(Argument("ARTIFACT", "artifact", "NAME, STEP.NAME, RUN:STEP.NAME or a fingerprint"),),
        options=(
            Option(
                "--output",
                "FILE",
                "the file; its ending says the format: csv, parquet, arrow, json, npy, png, pkl",
                short="-o",
                kind="file",
            ),
            _RUN,
        ),
        examples=("cellway export compare.scores -o scores.csv", "cellway export figure.figure -o figure.png"),
    ),
    Command(
        "gc",
        "keep",
        "keeping",
        "make room: delete stored bytes that are old or that nothing refers to",
        options=(
            Option("--older-than", "TIME", "what was not used for this long: 12h, 30d, 8w"),
            Option("--max-size", "SIZE", "the least recently used until this much is left: 500MB, 10GB"),
            Option("--dry-run", "", "say what would go, and delete nothing"),
        ),
        text="Without --older-than and --max-size only bytes that no run refers to go. The record of runs stays.",
        examples=("cellway gc --dry-run --older-than 30d", "cellway gc --max-size 10GB"),
    ),
    Command("doctor", "keep", "keeping", "look for what is wrong with the installation and the project"),
    Command(
        "completion",
        "keep",
        "completion",
        "print the completion script of a shell",
        arguments=(Argument("SHELL", "shell", "bash, zsh or fish"),),
        text='bash:  eval "$(cellway completion bash)"     in ~/.bashrc\n'
        'zsh:   eval "$(cellway completion zsh)"      in ~/.zshrc, below compinit\n'
        "fish:  cellway completion fish | source      in ~/.config/fish/config.fish",
        examples=("cellway completion bash",),
    ),
    Command(
        "help",
        "keep",
        "helping",
        "show the help of a command",
        arguments=(Argument("COMMAND", "command", "a command; the list of them without it", required=False),),
    ),
)

COMMANDS = {command.name: command for command in _ALL}

GROUPS = (
    ("notebook", "From notebook to pipeline"),
    ("run", "Run it"),
    ("look", "Look at what happened"),
    ("keep", "Keep house"),
)
