"""Names in texts that a library evaluates among the caller's variables.

``df.query("age > @limit")``, ``duckdb.sql("select * from df")``, ``ols("y ~ np.log(x)", data)``, ``pd.eval("a + b")``:
nothing in the syntax tree says that ``limit``, ``df``, ``np``, ``a`` and ``b`` are read here. A name found here counts
only where the notebook binds it, so that a word too many costs an edge at most.
"""

from __future__ import annotations

import re

EVALUATING = frozenset({"pd.eval", "pandas.eval", "ne.evaluate", "numexpr.evaluate"})
"""Functions whose text names variables without any sign."""

_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_MARKED = re.compile(r"(?<!\w)@([^\W\d]\w*)")
_SQL = re.compile(r"\b(?:select|from|summarize|describe|pivot|unpivot|insert|update|delete|copy|with)\b", re.IGNORECASE)
_TABLES = re.compile(
    r"\b(?:from|join|using|into|update|summarize|describe|pivot|unpivot|copy)\s+"
    r'((?:"?\w+"?(?:\s+(?:as\s+)?\w+)?\s*,\s*)*"?[^\W\d]\w*"?)',
    re.IGNORECASE,
)
_FORMULA = re.compile(r"^[^~\n]*~[^~\n]+$")


def names(text: str) -> set[str]:
    """Names that a text may read as variables, judged by what it looks like."""
    found: set[str] = set()
    if "@" in text:
        found.update(_MARKED.findall(text))
    if " " in text and _SQL.search(text):
        for tables in _TABLES.findall(text):
            found.update(_NAME.findall(tables))
    if "~" in text and _FORMULA.match(text):
        found.update(_NAME.findall(text))
    return found


def words(text: str) -> set[str]:
    """Every name in the text of an expression."""
    return set(_NAME.findall(text))
