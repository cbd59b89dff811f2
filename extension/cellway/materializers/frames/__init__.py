"""pandas ↔ Arrow with nothing lost: dtypes, index, labels, flags, and the blocks in which the columns lie.

pandas' own conversion changes things without a word (``None`` in a float column, frequencies, mixed labels, object
columns), so the arrays are put into Arrow columns as they are, a description says what they were, and before anything
is written the description is followed backwards and the result compared with the frame. What is not understood is not
accepted.

Blocks matter twice: columns that share a block lie side by side in the file, so the block comes back as one view of the
mapping; and the memory order of ``to_numpy()`` stays the same, which decides about the last bit of sums and products.
"""

from __future__ import annotations

import json
from typing import Any

from cellway.materializers.frames.reading import Reader, View, borrowed
from cellway.materializers.frames.writing import Spec, Unknown, Writer


def encode(value: Any) -> tuple[Any, Spec] | None:
    """A pandas object as one record batch and the way back.

    Returns:
        ``None`` if the way back would not give exactly this object.
    """
    import pandas as pd

    if not hasattr(pd.api, "internals"):  # before pandas 3: no public way to build a frame from blocks
        return None
    writer = Writer()
    try:
        spec = writer.value(value)
        batch = writer.batch()
    except Unknown:
        return None
    spec = json.loads(json.dumps(spec))  # the way back must start from what will stand in the file
    return (batch, spec) if _same(value, decode(batch, spec, borrowed)) else None


def decode(table: Any, spec: Spec, view: View) -> Any:
    """The pandas object in an Arrow table.

    Args:
        table: a table or record batch, as :func:`encode` made it.
        spec: the description that goes with it.
        view: makes numpy arrays of Arrow buffers.
    """
    return Reader(table, view).value(spec)


# --- the check -------------------------------------------------------------------------------------------------


def _same(value: Any, restored: Any) -> bool:
    """Whether the way back gives the same, as far as that can be seen without looking at the rows."""
    import pandas as pd

    if type(restored) is not type(value) or len(restored) != len(value):
        return False
    if isinstance(value, pd.Index):
        return _same_index(value, restored)
    if not _same_index(value.index, restored.index) or value.attrs != restored.attrs:
        return False
    if value.flags.allows_duplicate_labels != restored.flags.allows_duplicate_labels:
        return False
    if isinstance(value, pd.Series):
        same_name = type(value.name) is type(restored.name) and value.name == restored.name
        return same_name and _same_dtype(value.dtype, restored.dtype)
    columns = value.columns
    if not _same_index(columns, restored.columns) or not columns.identical(restored.columns):
        return False
    if [type(label) for label in columns] != [type(label) for label in restored.columns]:
        return False
    return all(map(_same_dtype, value.dtypes, restored.dtypes)) and _places(value) == _places(restored)


def _places(frame: Any) -> list[list[int]]:
    return [[int(place) for place in block.mgr_locs.as_array] for block in frame._mgr.blocks]


def _same_dtype(one: Any, other: Any) -> bool:
    import pandas as pd

    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, pd.CategoricalDtype):
        return one.ordered == other.ordered and _same_index(one.categories, other.categories)
    if isinstance(one, pd.StringDtype):
        return bool(one.storage == other.storage and (one.na_value is pd.NA) == (other.na_value is pd.NA))
    return repr(one) == repr(other)


def _same_index(one: Any, other: Any) -> bool:
    import pandas as pd

    if type(one) is not type(other) or len(one) != len(other):
        return False
    if [*map(type, one.names)] != [*map(type, other.names)] or list(one.names) != list(other.names):
        return False
    if isinstance(one, pd.RangeIndex):
        return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
    if isinstance(one, pd.MultiIndex):
        codes = [(code.dtype, len(code)) for code in one.codes] == [(code.dtype, len(code)) for code in other.codes]
        return codes and all(map(_same_index, one.levels, other.levels))
    return _same_dtype(one.dtype, other.dtype) and getattr(one, "freq", None) == getattr(other, "freq", None)
