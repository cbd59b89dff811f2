"""Pipeline → picture: text for a terminal, SVG for a page, Mermaid for a README.

The three show the same graph: a node for each step, an edge for each hand-over, labelled with the names handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from cellway.records import Pipeline, Status

FORMATS = ("text", "svg", "mermaid")

Edges = dict[str, dict[str, tuple[str, ...]]]
"""Step → provider → names handed over (none for a mere ``--after``)."""

_MARKS = {
    Status.COMPLETED: "✓",
    Status.CACHED: "●",
    Status.RUNNING: "◐",
    Status.FAILED: "✗",
    Status.CANCELLED: "◌",
    Status.SKIPPED: "◌",
    Status.PENDING: "○",
}


def draw(
    pipeline: Pipeline,
    format: str = "text",  # noqa: A002 - the option's name on the command line, too
    *,
    states: Mapping[str, Status] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Draw a pipeline.

    Args:
        format: ``text``, ``svg`` or ``mermaid``.
        states: state of each step, shown as a mark (text) or colour.
        notes: a few words for each step, e.g. why it will run.

    Raises:
        ValueError: unknown format.
    """
    drawers: dict[str, Callable[[Pipeline, Mapping[str, Status], Mapping[str, str]], str]] = {
        "text": _text,
        "svg": _svg,
        "mermaid": _mermaid,
    }
    if format not in drawers:
        raise ValueError(f"unknown format {format!r}: use one of {', '.join(FORMATS)}")
    return drawers[format](pipeline, states or {}, notes or {})


def edges(pipeline: Pipeline) -> Edges:
    """Hand-overs of a pipeline: step → provider → names."""
    found: Edges = {}
    for step in pipeline.steps:
        handed: dict[str, list[str]] = {provider: [] for provider in step.after}
        for name, provider in step.inputs.items():
            handed.setdefault(provider, []).append(name)
        found[step.name] = {p.name: tuple(handed[p.name]) for p in pipeline.steps if p.name in handed}
    return found


# --- text ------------------------------------------------------------------------------------------------------


def _text(pipeline: Pipeline, states: Mapping[str, Status], notes: Mapping[str, str]) -> str:
    """One row a step; each step has a rail that runs down to the last step that takes something from it."""
    found = edges(pipeline)
    last_use: dict[str, int] = {}
    for row, step in enumerate(pipeline.steps):
        for provider in found[step.name]:
            last_use[provider] = row
    width = max((len(step.name) for step in pipeline.steps), default=0)
    rails: list[str | None] = []
    columns: dict[str, int] = {}
    rows = []
    for row, step in enumerate(pipeline.steps):
        providers = found[step.name]
        left = max((columns[p] for p in providers), default=-1)
        column = next((i for i in range(left + 1, len(rails)) if rails[i] is None), None)
        if column is None:
            column = max(len(rails), left + 1)
            rails.extend([None] * (column + 1 - len(rails)))
        mark = _MARKS[states.get(step.name, Status.PENDING)] if states else "●"
        closing = {columns[p] for p in providers if last_use[p] == row}
        graph = _row(rails, {columns[p] for p in providers}, closing, column, mark)
        for provider in providers:
            if last_use[provider] == row:
                rails[columns[provider]] = None
        if step.name in last_use:
            rails[column] = step.name
        columns[step.name] = column
        rows.append((step.name, graph, notes.get(step.name) or _takes(providers)))
    graph_width = max((len(graph) for _, graph, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {graph:<{graph_width}}  {note}".rstrip() for name, graph, note in rows)


def _row(rails: Sequence[str | None], taken: set[int], closing: set[int], column: int, mark: str) -> str:
    start = min(taken, default=column)
    cells = []
    for i in range(max(len(rails), column + 1)):
        inside = start <= i < column
        if i == column:
            sign = mark
        elif i in taken:
            sign = ("└" if i in closing else "├") if i == start else ("┴" if i in closing else "┼")
        elif rails[i] is not None:
            sign = "│"
        else:
            sign = "─" if inside else " "
        cells.append(sign + ("─" if inside else " "))
    return "".join(cells).rstrip()


def _takes(providers: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{', '.join(names) or 'after'} ← {provider}" for provider, names in providers.items())


# --- Mermaid ---------------------------------------------------------------------------------------------------


def _mermaid(pipeline: Pipeline, states: Mapping[str, Status], notes: Mapping[str, str]) -> str:
    ids = {step.name: f"s{number}" for number, step in enumerate(pipeline.steps)}
    lines = ["flowchart LR"]
    for name, node in ids.items():
        note = f"<br/><small>{_mermaid_text(notes[name])}</small>" if notes.get(name) else ""
        lines.append(f'  {node}["{_mermaid_text(name)}{note}"]')
    for name, providers in edges(pipeline).items():
        for provider, handed in providers.items():
            label = f'|"{_mermaid_text(", ".join(handed))}"|' if handed else ""
            arrow = "-->" if handed else "-.->"
            lines.append(f"  {ids[provider]} {arrow}{label} {ids[name]}")
    shown = {name: state for name, state in states.items() if name in ids}
    lines += [f"  class {ids[name]} {state.value}" for name, state in shown.items()]
    lines += [f"  classDef {state.value} {_MERMAID_STYLES[state]}" for state in dict.fromkeys(shown.values())]
    return "\n".join(lines) + "\n"


_MERMAID_STYLES = {
    Status.COMPLETED: "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    Status.CACHED: "fill:#ddf4ff,stroke:#0969da,color:#1f2328",
    Status.PENDING: "fill:#ffffff,stroke:#57606a,color:#1f2328",
    Status.RUNNING: "fill:#fff8c5,stroke:#9a6700,color:#1f2328",
    Status.FAILED: "fill:#ffebe9,stroke:#cf222e,color:#1f2328",
    Status.CANCELLED: "fill:#f6f8fa,stroke:#57606a,color:#57606a,stroke-dasharray:4 3",
    Status.SKIPPED: "fill:#f6f8fa,stroke:#57606a,color:#57606a,stroke-dasharray:4 3",
}


def _mermaid_text(text: str) -> str:
    return escape(text, quote=True).replace("&#x27;", "'").replace("&quot;", "#quot;")


# --- SVG -------------------------------------------------------------------------------------------------------

_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 34.0, 56.0, 16.0, 16.0
_LANE = 12.0
"""Height that a line takes where it passes a column of steps."""
_STYLE = """
  .cw-step { fill: #ffffff; stroke: #57606a; stroke-width: 1.2 }
  .cw-name { fill: #1f2328; font: 600 13px system-ui, sans-serif }
  .cw-edge { fill: none; stroke: #8c959f; stroke-width: 1.4 }
  .cw-after { stroke-dasharray: 4 4 }
  .cw-tip { fill: #8c959f }
  .cw-completed .cw-step { fill: #dafbe1; stroke: #1a7f37 }
  .cw-cached .cw-step { fill: #ddf4ff; stroke: #0969da }
  .cw-running .cw-step { fill: #fff8c5; stroke: #9a6700 }
  .cw-failed .cw-step { fill: #ffebe9; stroke: #cf222e }
  .cw-skipped .cw-step, .cw-cancelled .cw-step { stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .cw-step { fill: #161b22; stroke: #8b949e }
    .cw-name { fill: #e6edf3 }
    .cw-edge { stroke: #6e7681 } .cw-tip { fill: #6e7681 }
    .cw-completed .cw-step { fill: #12261e; stroke: #3fb950 }
    .cw-cached .cw-step { fill: #0c2d4b; stroke: #58a6ff }
    .cw-running .cw-step { fill: #3b2300; stroke: #d29922 }
    .cw-failed .cw-step { fill: #3c0d0d; stroke: #f85149 }
  }
"""


_TIP = (
    '<defs><marker id="cw-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="cw-tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)


@dataclass(slots=True)
class _Item:
    """What stands in a column of the picture: a step, or the line of an earlier step that passes by.

    All hand-overs of one step pass a column as one line, as the rails of the text form do.
    """

    step: str
    lane: bool
    weight: float
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0

    @property
    def height(self) -> float:
        return _LANE if self.lane else _HEIGHT


_Key = tuple[str, int]
"""Step and column: where a step stands, or where its line passes."""


class _Layout:
    """Where everything stands.

    Columns by the longest way from the sources; a step that takes nothing stands right in front of whoever needs it.
    Within a column the order with the fewest crossings that some sweeps find; then all is drawn towards its neighbours.
    """

    def __init__(self, pipeline: Pipeline, found: Edges) -> None:
        self.found = found
        self.column = _columns(pipeline, found)
        self.items: dict[_Key, _Item] = {}
        self.rows: list[list[_Key]] = [[] for _ in range(max(self.column.values(), default=-1) + 1)]
        self.left: dict[_Key, list[_Key]] = {}
        self.right: dict[_Key, list[_Key]] = {}
        for step in pipeline.steps:
            self._add((step.name, self.column[step.name]), lane=False)
        for name, providers in found.items():
            for provider in providers:
                self._connect(provider, name)
        self._order()
        self.width, self.height = self._place()

    def way(self, provider: str, name: str) -> list[_Item]:
        """From a step to one that takes something from it, with the lanes in between."""
        return [self.items[provider, i] for i in range(self.column[provider], self.column[name])] + [
            self.items[name, self.column[name]]
        ]

    def _add(self, key: _Key, *, lane: bool) -> None:
        if key not in self.items:
            self.items[key] = _Item(key[0], lane, 4.0 if lane else 1.0)
            self.rows[key[1]].append(key)
            self.left[key], self.right[key] = [], []

    def _connect(self, provider: str, name: str) -> None:
        first, last = self.column[provider], self.column[name]
        for i in range(first + 1, last):
            self._add((provider, i), lane=True)
        stops: list[_Key] = [*((provider, i) for i in range(first, last)), (name, last)]
        for one, other in pairwise(stops):
            if other not in self.right[one]:
                self.right[one].append(other)
                self.left[other].append(one)

    def _order(self) -> None:
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(8):
            forwards = sweep % 2 == 0
            sides = self.left if forwards else self.right
            for row in self.rows if forwards else self.rows[::-1]:
                places = {key: i for other in self.rows for i, key in enumerate(other)}
                row.sort(key=lambda key: _middle([places[k] for k in sides[key]], places[key]))
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        count = 0
        for row in self.rows:
            following = {key: i for other in self.rows for i, key in enumerate(other)}
            links = [(i, following[other]) for i, key in enumerate(row) for other in self.right[key]]
            count += sum((a - c) * (b - d) < 0 for n, (a, b) in enumerate(links) for c, d in links[:n])
        return count

    def _place(self) -> tuple[float, float]:
        x = _MARGIN
        for row in self.rows:
            width = max((len(key[0]) * 8.0 + 28 for key in row if not self.items[key].lane), default=72.0)
            y = 0.0
            for key in row:
                item = self.items[key]
                item.x, item.width, item.y = x, max(width, 72.0), y + item.height / 2
                y += item.height + _GAP_Y
            x += max(width, 72.0) + _GAP_X
        for sweep in range(24):
            for row in self.rows if sweep % 2 == 0 else self.rows[::-1]:
                self._settle(row)
        top = min((item.y - item.height / 2 for item in self.items.values()), default=0.0)
        for item in self.items.values():
            item.y = round(item.y - top + _MARGIN, 1)
        bottom = max((item.y + item.height / 2 for item in self.items.values()), default=_MARGIN)
        return x - _GAP_X + _MARGIN, bottom + _MARGIN

    def _settle(self, row: list[_Key]) -> None:
        """Move a column towards its neighbours, keeping order and distances: isotonic regression, block by block."""
        blocks: list[tuple[float, float, int]] = []  # wanted position, weight, items
        offsets, offset, before = [], 0.0, 0.0
        for n, key in enumerate(row):
            item = self.items[key]
            offset += (before + item.height) / 2 + _GAP_Y if n else 0.0
            before = item.height
            offsets.append(offset)
            near = [self.items[other].y for other in (*self.left[key], *self.right[key])]
            block = (_middle(near, item.y) - offset, item.weight, 1)
            while blocks and blocks[-1][0] > block[0]:
                value, weight, size = blocks.pop()
                total = weight + block[1]
                block = ((value * weight + block[0] * block[1]) / total, total, size + block[2])
            blocks.append(block)
        values = [value for value, _, size in blocks for _ in range(size)]
        for key, value, offset in zip(row, values, offsets, strict=True):
            self.items[key].y = value + offset


def _columns(pipeline: Pipeline, found: Edges) -> dict[str, int]:
    column: dict[str, int] = {}
    for step in pipeline.steps:
        column[step.name] = max((column[p] + 1 for p in found[step.name]), default=0)
    for step in pipeline.steps:
        if not found[step.name]:
            takers = [column[name] for name, providers in found.items() if step.name in providers]
            column[step.name] = max(min(takers, default=1) - 1, 0)
    return column


def _middle(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _svg(pipeline: Pipeline, states: Mapping[str, Status], notes: Mapping[str, str]) -> str:
    found = edges(pipeline)
    layout = _Layout(pipeline, found)
    size = f'viewBox="0 0 {layout.width:g} {layout.height:g}" width="{layout.width:g}" height="{layout.height:g}"'
    label = escape(f"Pipeline {pipeline.name}", quote=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        f"<style>{_STYLE}</style>",
        _TIP,
    ]
    for name, providers in found.items():
        parts += [_svg_edge(layout.way(provider, name), handed) for provider, handed in providers.items()]
    for step in pipeline.steps:
        item = layout.items[step.name, layout.column[step.name]]
        title = notes.get(step.name) or _takes(found[step.name])
        parts.append(_svg_step(item, states.get(step.name), f"{step.name}: {title}" if title else step.name))
    return "\n".join([*parts, "</svg>\n"])


def _svg_step(item: _Item, state: Status | None, title: str) -> str:
    middle = item.x + item.width / 2
    return (
        f'<g class="{f"cw-{state.value}" if state else ""}"><title>{escape(title)}</title>'
        f'<rect class="cw-step" x="{item.x:g}" y="{item.y - _HEIGHT / 2:g}" width="{item.width:g}" '
        f'height="{_HEIGHT:g}" rx="7"/>'
        f'<text class="cw-name" x="{middle:g}" y="{item.y + 4.5:g}" text-anchor="middle">{escape(item.step)}</text></g>'
    )


def _svg_edge(way: Sequence[_Item], handed: tuple[str, ...]) -> str:
    x, y = way[0].x + way[0].width, way[0].y
    path = [f"M{x:g} {y:g}"]
    for item in way[1:]:
        end = item.x - (0 if item.lane else 1)
        bend = (end - x) / 2
        path.append(f"C{x + bend:g} {y:g} {end - bend:g} {item.y:g} {end:g} {item.y:g}")
        if item.lane:
            path.append(f"L{item.x + item.width:g} {item.y:g}")
        x, y = item.x + item.width, item.y
    style = "cw-edge" if handed else "cw-edge cw-after"
    return (
        f'<path class="{style}" marker-end="url(#cw-tip)" d="{" ".join(path)}">'
        f"<title>{escape(', '.join(handed) or 'after')}</title></path>"
    )
