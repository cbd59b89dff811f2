"""Which project a command is about."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cellway.errors import UsageError

if TYPE_CHECKING:
    from cellway.cli.console import Console
    from cellway.cli.parsing import Call
    from cellway.project import Project


def project_of(call: Call, source: str) -> Project:
    """The project of a notebook or converted folder: ``--project``, else the one that it stands in."""
    from cellway.project import Project

    chosen = call.text("--project")
    return Project(_folder(chosen)) if chosen is not None else Project.find(source)


def project_here(console: Console, call: Call) -> Project:
    """The project of a command that names no notebook: ``--project``, else the one around the current folder.

    Where there is none, and a single folder below has been used as one (by ``cellway run notebooks/a.ipynb``), that is
    meant.

    Raises:
        UsageError: several folders below could be meant.
    """
    from cellway.project import Project

    chosen = call.text("--project")
    if chosen is not None:
        return Project(_folder(chosen))
    project = Project.find(".")
    if os.path.isdir(project.state):
        return project
    below = sorted(entry.name for entry in os.scandir(".") if os.path.isdir(os.path.join(entry.path, ".cellway")))
    if len(below) > 1:
        names = ", ".join(f"`{name}`" for name in below)
        raise UsageError(f"several folders here hold runs: {names}", name="--project", fix=f"`--project {below[0]}`")
    if below:
        console.note(f"the runs in {below[0]}{os.sep} are meant")
        return Project(below[0])
    return project


def _folder(chosen: str) -> str:
    if not os.path.isdir(chosen):
        raise UsageError(
            f"`--project {chosen}`: there is no such folder", name="--project", fix="name the project's folder"
        )
    return chosen
