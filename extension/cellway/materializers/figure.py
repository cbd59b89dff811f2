"""Figures: stored as pickles (they can be drawn on again), with a small PNG to look at in the sidecar."""

from __future__ import annotations

import sys
from typing import Any

from cellway.materializers.pickled import Pickled


class Figure(Pickled):
    """matplotlib figures and axes."""

    name = "figure"
    suffix = ".figure"

    def accepts(self, value: Any) -> bool:
        """Whether it is a matplotlib figure or axes (an axes brings its figure along)."""
        figure, axes = sys.modules.get("matplotlib.figure"), sys.modules.get("matplotlib.axes")
        return (figure is not None and isinstance(value, figure.Figure)) or (
            axes is not None and isinstance(value, axes.Axes)
        )
