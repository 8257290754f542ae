"""The options of CSV and its kin: quilt3's names and defaults, and what pandas calls them.

Names, defaults and meanings are those of quilt3 8.0.0 (`CSVPandasFormatHandler`), because they
are stored in metadata. Stored options come from strangers, so every value is checked.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from typing import Any, Final

from t4_ops.errors import InvalidInputError

# Stands for an index column whose name is not remembered, while pandas wants one.
PLACEHOLDER: Final = "\0index"

SEPARATORS: Final = {"csv": ",", "tsv": "\t", "ssv": ";"}

_NA_VALUES: Final = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
    *("1.#QNAN", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"),
)

_QUOTING: Final = {
    "all": csv.QUOTE_ALL,
    "minimal": csv.QUOTE_MINIMAL,
    "none": csv.QUOTE_NONE,
    "nonnumeric": csv.QUOTE_NONNUMERIC,
}


def with_defaults(opts: Mapping[str, object], extension: str) -> dict[str, Any]:
    """Options given, over quilt3's defaults for an extension.

    Args:
        opts: Options given or remembered, already checked.
        extension: "csv", "tsv", "ssv", or another for which the separator stays open.
    """
    defaults: dict[str, Any] = {
        "encoding": "utf-8",
        "index_names_are_keys": False,
        "na_values": list(_NA_VALUES),
        "use_header": True,
        "use_index": False,
    }
    if extension in SEPARATORS:
        defaults["fieldsep"] = SEPARATORS[extension]
    return {**defaults, **opts}


def write_arguments(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for `DataFrame.to_csv`; the encoding is left to whoever encodes the text."""
    arguments = _common_arguments(opts)
    arguments["header"] = (opts.get("header_names") or True) if opts["use_header"] else False
    arguments["index"] = opts["use_index"]
    arguments["index_label"] = opts.get("index_names")
    arguments["lineterminator"] = opts["linesep"]
    arguments["na_rep"] = opts["na_values"][0]
    arguments["quoting"] = _quoting_style(opts)
    return arguments


def read_arguments(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for `pandas.read_csv`."""
    arguments = _common_arguments(opts)
    arguments["encoding"] = opts["encoding"]
    arguments["header"] = 0 if opts["use_header"] else None
    arguments["index_col"] = _index_columns(opts)
    arguments["names"] = _column_names(opts)
    # Just the listed values mean null: pandas's own list would turn more text into nulls.
    arguments["na_values"] = opts["na_values"]
    arguments["keep_default_na"] = False
    # The other styles don't matter to a reader, who would take "nonnumeric" for "all floats".
    if _quoting_style(opts) == csv.QUOTE_NONE:
        arguments["quoting"] = csv.QUOTE_NONE
    arguments["skipinitialspace"] = opts.get("skip_spaces", False)
    line_end = opts.get("linesep")
    # Told the line end, pandas keeps a "\r" that is data; it finds "\r\n" only by itself.
    if line_end not in (None, "\r\n"):
        arguments["lineterminator"] = line_end
    return arguments


def _common_arguments(opts: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {"sep": opts.get("fieldsep", ",")}
    for name in ("doublequote", "escapechar", "quotechar"):
        if name in opts:
            arguments[name] = opts[name]
    return arguments


def _index_columns(opts: Mapping[str, Any]) -> Any:
    if not opts["use_index"]:
        return False
    names = opts.get("index_names")
    if not names:
        return [0]
    return names if opts["index_names_are_keys"] else list(range(len(names)))


def _column_names(opts: Mapping[str, Any]) -> list[Any] | None:
    """All column names of the file, if they are remembered rather than read from it."""
    header = opts.get("header_names")
    if not header:
        return None
    if not opts["use_index"]:
        return list(header)
    # header_names are those of the data columns; the index columns stand before them.
    index_names = opts.get("index_names") or [PLACEHOLDER]
    return [*index_names, *header]


def _quoting_style(opts: Mapping[str, Any]) -> int:
    style = opts.get("quoting", csv.QUOTE_MINIMAL)
    return _QUOTING[style.strip().lower()] if isinstance(style, str) else int(style)


def _is_character(value: object) -> bool:
    """One ASCII character, as pandas's fast parser wants it; it takes longer ones for patterns."""
    return isinstance(value, str) and len(value) == 1 and value.isascii()


def _is_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str | int) for name in value)


def _is_encoding(value: object) -> bool:
    try:
        return isinstance(value, str) and isinstance("".encode(value), bytes)
    except (LookupError, ValueError):
        return False


def _is_quoting(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _QUOTING
    return value in _QUOTING.values()


# Option -> what it takes, in words and as a test.
_RULES: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "doublequote": ("True or False", lambda value: isinstance(value, bool)),
    "encoding": ("the name of a text encoding", _is_encoding),
    "escapechar": ("one ASCII character", lambda value: value is None or _is_character(value)),
    "fieldsep": ("one ASCII character", _is_character),
    "header_names": ("a list of column names", lambda value: value is None or _is_names(value)),
    "index_names": ("a list of index names", lambda value: value is None or _is_names(value)),
    "index_names_are_keys": ("True or False", lambda value: isinstance(value, bool)),
    "linesep": (
        "one ASCII character or '\\r\\n'",
        lambda value: value == "\r\n" or _is_character(value),
    ),
    "na_values": (
        "a list of strings, at least one",
        lambda value: (
            isinstance(value, list | tuple)
            and bool(value)
            and all(isinstance(word, str) for word in value)
        ),
    ),
    "quotechar": ("one ASCII character", _is_character),
    "quoting": (f"one of {', '.join(_QUOTING)}", _is_quoting),
    "skip_spaces": ("True or False", lambda value: isinstance(value, bool)),
    "use_header": ("True or False", lambda value: isinstance(value, bool)),
    "use_index": ("True or False", lambda value: isinstance(value, bool)),
}

NAMES: Final = tuple(_RULES)


def check(opts: Mapping[str, object]) -> None:
    """Check every value.

    Raises:
        InvalidInputError: A value that pandas would refuse or take for something else.
    """
    for name, value in opts.items():
        words, is_valid = _RULES[name]
        if not is_valid(value):
            raise InvalidInputError(f"the option {name} takes {words}, not {value!r}")
    if opts.get("index_names_are_keys") and not opts.get("index_names"):
        raise InvalidInputError("the option index_names_are_keys needs index_names")
