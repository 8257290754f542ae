"""CSV and its kin: round trips, options, and what text tables can't hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


def again(frame: object, key: str = "t.csv", options: dict[str, Any] | None = None) -> pd.DataFrame:
    serialized = formats.serialize(frame, key, opts=options)
    found = formats.deserialize(serialized.data, key, serialized.meta)
    assert isinstance(found, pd.DataFrame)
    return found


# What stands in a cell has no type, so text must not look like a number, a date or a null; the
# first letter sees to that. NUL ends a string for the C parser.
WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8).map("w".__add__)


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), WORDS, st.booleans()
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["csv", "tsv", "ssv"]),
    st.sampled_from(["\n", "\r", "\r\n"]),
)
def test_a_frame_comes_back(rows: list[tuple[Any, ...]], extension: str, line_end: str) -> None:
    frame = pd.DataFrame(rows, columns=["i", "f", 'w ,;\t"\n', "b"])
    frame["f"] = frame["f"].replace([np.inf, -np.inf], 0.5)
    if line_end == "\r\n":  # read with all usual line ends, so a lone one is none of the data
        frame['w ,;\t"\n'] = frame['w ,;\t"\n'].str.replace("\r", "")
    pd.testing.assert_frame_equal(again(frame, f"t.{extension}", {"linesep": line_end}), frame)


def test_line_ends_are_the_same_on_every_system() -> None:
    assert formats.serialize(FRAME, "t.csv").data == b"a,b\n1,x\n2,y\n"
    assert formats.serialize(FRAME, "t.tsv").data == b"a\tb\n1\tx\n2\ty\n"
    assert formats.serialize(FRAME, "t.ssv").data == b"a;b\n1;x\n2;y\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_files_of_others_may_end_lines_as_they_like(line_end: bytes) -> None:
    data = line_end.join([b"a,b", b"1,x", b"2,y", b""])
    found: Any = formats.deserialize(data, "t.csv")
    pd.testing.assert_frame_equal(found, FRAME)


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "utf-16"},
        {"encoding": "latin-1", "fieldsep": "|"},
        {"quoting": "all"},
        {"quoting": 2},
        {"quoting": "none", "escapechar": "\\"},
        {"quotechar": "'"},
        {"doublequote": False, "escapechar": "\\"},
        {"linesep": "~"},
        {"use_header": False, "header_names": ["a", "b"]},
    ],
)
def test_a_file_written_with_options_is_read_with_them(options: dict[str, Any]) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x,'y", 'é"|']})
    pd.testing.assert_frame_equal(again(frame, options=options), frame)


def test_header_names_replace_those_of_the_frame() -> None:
    found = again(FRAME, options={"header_names": ["c", "d"]})
    assert list(found.columns) == ["c", "d"]
    without = again(FRAME, options={"use_header": False})
    assert without.columns.equals(pd.RangeIndex(2))


def test_spaces_after_the_separator_are_skipped_if_asked() -> None:
    data = b"a, b\n1, x\n"
    skipped: Any = formats.deserialize(data, "t.csv", opts={"skip_spaces": True})
    assert (list(skipped.columns), skipped["b"][0]) == (["a", "b"], "x")
    kept: Any = formats.deserialize(data, "t.csv")
    assert (list(kept.columns), kept[" b"][0]) == (["a", " b"], " x")


@pytest.mark.parametrize(
    ("index", "options", "names"),
    [
        (pd.Index(["p", "q"], name="key"), {"use_index": True}, ["key"]),
        (pd.Index(["p", "q"]), {"use_index": True}, [None]),
        (pd.Index(["p", "q"]), {"use_index": True, "index_names": ["k"]}, ["k"]),
        (pd.Index(["p", "q"]), {"use_index": True, "header_names": ["index", "d"]}, [None]),
        (
            pd.Index(["p", "q"]),
            {
                "use_index": True,
                "index_names": ["k"],
                "use_header": False,
                "header_names": ["c", "d"],
            },
            ["k"],
        ),
        (
            pd.MultiIndex.from_tuples([("p", 1), ("q", 2)]),
            {"use_index": True, "index_names": ["k", "l"]},
            ["k", "l"],
        ),
        (
            pd.MultiIndex.from_tuples([("p", 1), ("q", 2)]),
            {"use_index": True, "index_names": ["k", "l"], "index_names_are_keys": True},
            ["k", "l"],
        ),
    ],
)
def test_an_index_comes_back(index: pd.Index, options: dict[str, Any], names: list[Any]) -> None:
    frame = FRAME.set_index(index)
    expected = frame.rename_axis(names)
    if "header_names" in options:
        expected.columns = options["header_names"]
    pd.testing.assert_frame_equal(again(frame, options=options), expected)


def test_without_use_index_the_index_is_left_out() -> None:
    pd.testing.assert_frame_equal(again(FRAME.set_index(pd.Index([7, 8]))), FRAME)


def test_words_that_mean_null_elsewhere_are_kept() -> None:
    frame = pd.DataFrame({"a": ["None", "<NA>", "x"]})
    pd.testing.assert_frame_equal(again(frame), frame)


def test_floats_come_back_to_the_last_bit() -> None:
    generator = np.random.default_rng(7)
    values = generator.random(2000) * 10.0 ** generator.integers(-300, 300, 2000)
    assert (again(pd.DataFrame({"v": values}))["v"].to_numpy() == values).all()


def test_an_arrow_table_keeps_integers_beside_nulls() -> None:
    table = pa.table({"a": pa.array([2**60 + 1, None]), "b": ["x", None]})
    assert formats.serialize(table, "t.csv").data == b"a,b\n1152921504606846977,x\n,\n"


def test_no_rows_are_fine() -> None:
    assert list(again(FRAME.head(0)).columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "options", "told"),
    [
        (pd.DataFrame(index=[1, 2]), {}, "without columns"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), {}, "header rows"),
        (FRAME, {"header_names": ["a"]}, "1 names for 2 columns"),
        (FRAME, {"use_index": True, "index_names": ["a", "b"]}, "2 names for 1 index"),
        (FRAME.set_index(["a", "b"], drop=False), {"use_index": True}, "needs the option"),
        (pd.DataFrame({"a": ["é"]}), {"encoding": "ascii"}, "UnicodeEncodeError"),
        (pd.DataFrame({"a": ["x,y"]}), {"quoting": "none"}, "escape"),
    ],
)
def test_what_could_not_be_read_back_is_refused(
    frame: pd.DataFrame, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        formats.serialize(frame, "t.csv", opts=options)
    assert caught.value.key == "t.csv"


@pytest.mark.parametrize(
    "data", [b"", b"\n", b'a,b\n"1', b"a\n1\n1,2,3\n", b"a\n\xff\n", b"a,b\n1,2\n1,2,3\n"]
)
def test_what_is_no_table_is_told(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        formats.deserialize(data, "t.csv")
    assert caught.value.key == "t.csv"


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_a_wide_header_over_short_lines_is_refused(line_end: bytes) -> None:
    # 200 kB of text that pandas would fill up to 400 million cells.
    data = b"a," * 4_000 + b"a" + line_end + (b"1" + line_end) * 100_000
    with pytest.raises(FormatError, match="max_size_bytes"):
        formats.deserialize(data, "t.csv", opts={"use_header": False})
