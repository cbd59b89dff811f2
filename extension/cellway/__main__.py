"""``python -m cellway``: the command of that name, where the scripts' folder is not on the path."""

from __future__ import annotations

import sys

from cellway.cli import main

sys.exit(main())
