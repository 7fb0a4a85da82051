"""Lists of texts in the cells of CSV files: as JSON, Python and NumPy write them."""

import ast
import io
import json
import tokenize
import warnings
from token import NAME, OP, STRING

_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
_NO_TEXT = frozenset(("None", "nan"))  # what stands for a missing member


def members(cell: str) -> list[str] | None:
    """The texts of a list, without members that are null; None of what is no list of texts.

    JSON is tried first, whose escapes are not those of Python. NumPy, and so a table of pandas with
    arrays in it, puts no commas between members, which are one text to Python: `['a' 'b']`.
    """
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return _of_python(cell.strip())
    is_list = isinstance(found, list) and all(isinstance(one, str | None) for one in found)
    return [one for one in found if one is not None] if is_list else None


def _of_python(cell: str) -> list[str] | None:
    try:
        with warnings.catch_warnings():  # of escapes, in what is no list after all
            warnings.simplefilter("ignore")
            tokens = [*tokenize.generate_tokens(io.StringIO(cell).readline)]
            inner = [(kind, said) for kind, said, *_ in tokens if kind not in _LAYOUT]
            if len(inner) < 2 or (inner[0][1], inner[-1][1]) != ("[", "]"):
                return None
            found = [_member(*token) for token in inner[1:-1] if token != (OP, ",")]
    except (ValueError, SyntaxError, tokenize.TokenError):
        return None
    return [one for one in found if one is not None]


def _member(kind: int, said: str) -> str | None:
    """One member as it is written; None of one that is missing.

    Raises:
        ValueError: it is neither a text nor missing.
    """
    if kind == NAME and said in _NO_TEXT:
        return None
    value = ast.literal_eval(said) if kind == STRING else None
    if not isinstance(value, str):
        raise ValueError(f"a list of texts holds {said}")
    return value
