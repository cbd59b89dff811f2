"""Pipeline → step notebooks, and back.

* :func:`step_notebook` – one step as a notebook that papermill can execute; what every backend is given.
* :func:`convert` – all steps as a folder: notebooks, ``pipeline.yaml``, the project's own modules, the environment;
  with ``standalone=True`` a folder that runs without cellway.
* :func:`read_folder` – such a folder → :class:`~cellway.records.Pipeline`, edits by hand included.
"""

from __future__ import annotations

from cellway.conversion.folder import convert
from cellway.conversion.notebooks import handover_parameter, notebook_text, step_notebook
from cellway.conversion.reading import folder_notebook, is_folder, read_folder, workdir

__all__ = [
    "convert",
    "folder_notebook",
    "handover_parameter",
    "is_folder",
    "notebook_text",
    "read_folder",
    "step_notebook",
    "workdir",
]
