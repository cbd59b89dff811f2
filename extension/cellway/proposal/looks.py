"""Cells that only show something: tables, figures, printed lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from cellway.proposal.cells import CellFacts, called
from cellway.records import StatementKind

_PLOTTING = {"matplotlib", "seaborn", "plotly", "altair", "bokeh", "plotnine"}
# What shows and does not change, by its name alone; methods of tables, arrays, texts and fitted models.
_LOOK_FUNCTIONS = frozenset(
    """
    abs all any bool dict dir display enumerate filter float format frozenset getattr hasattr id int isinstance
    len list map max min print range repr reversed round set slice sorted str sum tuple type vars zip Markdown
    HTML DataFrame Series
    """.split()
)
_LOOK_METHODS = frozenset(
    """
    DataFrame HTML Markdown Series agg aggregate all any arange array asarray astype bar barh between box
    boxplot capitalize concat copy corr count cov crosstab cumsum describe diff drop dropna endswith eq fillna
    filter first format ge get get_params groupby gt head hist idxmax idxmin info isin isna isnull items
    iterrows itertuples join keys last le line linspace lower lt max mean median melt memory_usage merge min
    mode ne nlargest notna notnull nsmallest nunique pct_change pie pivot pivot_table plot predict predict_proba
    quantile query rank rename replace resample reset_index reshape rolling round sample scatter score
    set_caption set_index shift size sort_index sort_values split stack startswith std strip sum tail title
    to_dict to_frame to_html to_list to_markdown to_numpy to_string tolist transpose unique unstack upper
    value_counts values var
    """.split()
)
_WRITERS = re.compile(r"save|dump|write|to_(?:csv|excel|parquet|feather|json|pickle|sql|hdf|stata)|export|upload")


def plotting_names(cells: Sequence[CellFacts]) -> set[str]:
    """Names that the notebook imports from plotting libraries."""
    return {
        name
        for cell in cells
        for statement in cell.statements
        if statement.kind is StatementKind.IMPORT
        and any(module.split(".")[0] in _PLOTTING for module in statement.modules)
        for name in statement.binds
    }


def only_looks(cell: CellFacts, needed: set[str], plotting: set[str]) -> bool:
    """Whether the cell only shows something: nothing in it is needed below, or is a result of its own."""
    plotting = set(plotting)
    plots = False
    helpers = False
    for statement in cell.statements:
        if statement.kind in {StatementKind.IMPORT, StatementKind.FUNCTION, StatementKind.CLASS, StatementKind.AMBIENT}:
            continue
        try:
            nodes = ast.parse(statement.source).body
        except SyntaxError:
            return False  # a magic or a shell line: who knows
        for node in nodes:
            look = _Look(plotting)
            if not look.statement(node):
                return False
            plots |= look.plots
            helpers |= look.helpers
    return (plots or not helpers) and not (cell.binds & needed)


class _Look:
    """Reads a statement and says whether it can do anything but show.

    Attributes:
        plots: whether something of a plotting library was called.
        helpers: whether names were bound to something else than parts of a plot.
    """

    def __init__(self, plotting: set[str]) -> None:
        self.plotting = plotting
        self.plots = False
        self.helpers = False

    def statement(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Expr | ast.Assert):
            return self.expressions(node)
        if isinstance(node, ast.Assign) and all(_plain_target(target) for target in node.targets):
            if not self.expressions(node.value):
                return False
            if self._is_plot(node.value):
                self.plotting |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
            else:
                self.helpers = True
            return True
        if isinstance(node, ast.For) and _plain_target(node.target):
            self._spread(node.target, node.iter)
            return self.expressions(node.iter) and all(map(self.statement, [*node.body, *node.orelse]))
        if isinstance(node, ast.If):
            return self.expressions(node.test) and all(map(self.statement, [*node.body, *node.orelse]))
        if isinstance(node, ast.With):
            return all(self.expressions(item.context_expr) for item in node.items) and all(
                map(self.statement, node.body)
            )
        return isinstance(node, ast.Pass)

    def expressions(self, node: ast.AST) -> bool:
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                return False
            if isinstance(part, ast.Call) and not self._harmless(part):
                return False
        return True

    def _spread(self, target: ast.expr, source: ast.expr) -> None:
        """Loop variables over parts of a plot are parts of a plot: ``for ax, name in zip(axes, names)``."""
        if isinstance(source, ast.Call) and isinstance(target, ast.Tuple) and called(source) in {"zip", "enumerate"}:
            skipped = 1 if called(source) == "enumerate" else 0
            for part, argument in zip(target.elts[skipped:], source.args, strict=False):
                self._spread(part, argument)
        elif _root(source) in self.plotting:
            self.plotting |= {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}

    def _harmless(self, call: ast.Call) -> bool:
        name = called(call)
        if any(keyword.arg == "inplace" for keyword in call.keywords) or _WRITERS.match(name):
            return False
        if self._is_plot(call):
            self.plots = True
            return True
        if name in {"plot", "hist", "boxplot"}:
            self.plots = True
        return name in (_LOOK_FUNCTIONS if isinstance(call.func, ast.Name) else _LOOK_METHODS)

    def _is_plot(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call | ast.Attribute | ast.Subscript) and _root(node) in self.plotting


def _plain_target(node: ast.AST) -> bool:
    return all(isinstance(part, ast.Name | ast.Tuple | ast.List | ast.expr_context) for part in ast.walk(node))


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
