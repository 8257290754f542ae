"""Where lines begin: large manifests take another way to the same answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import FormatError
from t4_ops.manifest import Manifest, lines
from t4_ops.manifest.lines import Lines
from tests.manifest_support import HEADER, entry

TEXTS = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\r", b"\n")), max_size=20)


@given(TEXTS, st.integers(0, 40))
def test_numpy_finds_the_lines_that_splitting_finds(texts: list[bytes], from_bytes: int) -> None:
    pieces = [*texts, b"end\n"]
    expected = Lines.read(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_NUMPY_BYTES", from_bytes)
        found = Lines.read(pieces)
        assert [found.start(n) for n in range(len(found) + 1)] == [
            expected.start(n) for n in range(len(expected) + 1)
        ]
        assert found.longest_line() == max(map(len, b"".join(pieces)[:-1].split(b"\n")))
    assert expected.longest_line() == found.longest_line()


def test_a_large_manifest_that_is_cut_off_is_refused() -> None:
    data = Manifest.of(HEADER, [entry(f"{n:05}") for n in range(500)]).to_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_NUMPY_BYTES", 1000)
        assert len(Manifest.read([data[:999], data[999:]])) == 500
        with pytest.raises(FormatError, match="line 501 has no end: the manifest is cut off"):
            Manifest.read([data[:999], data[999:-1]])
