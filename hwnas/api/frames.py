"""Records as pandas has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwnas.errors import RequestError

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a table of pandas.

    Args:
        columns: in their order; of rows without one it is empty.

    Raises:
        RequestError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise RequestError("to_pandas needs pandas, which is not installed: pip install 'hwnas[notebooks]'") from error
    return pd.DataFrame(list(rows), columns=list(columns))
