"""A manifest that is checked and hashed in one pass is what it is in two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import FormatError
from t4_ops.keys import tree_order
from t4_ops.manifest import Manifest
from tests.manifest_support import BAD_LINES, HEADER, entry, line, raw_line
from tests.strategies import file_trees, metadata

HEADER_LINE = b'{"version": "v0"}\n'
# What is right by itself but not what most manifests hold, or not where most hold it.
ODD_LINES = {
    "over two lines": line(logical_key="odd").replace(b", ", b",\n", 1),
    "two on one line": line(logical_key="odd/1")[:-1] + line(logical_key="odd/2"),
    "blank": b"\n",
    "white space before": b" " + line(logical_key="odd"),
    "white space after": line(logical_key="odd")[:-1] + b" \n",
    "directory": line(logical_key="odd/", physical_keys=..., size=..., hash=...),
    "local": line(logical_key="odd", physical_keys=["file:///odd"]),
    "floats": raw_line(key=b"odd", meta=b'{"x": [1e16, 1E400, 0.1]}').replace(
        b"null", b'{"type": "SHA256", "value": "00"}'
    ),
    "not ASCII": line(logical_key="odd/é\u2028", meta={"\U0001f600": "\x7f"}),
    "long": line(logical_key="odd", meta={"x": "y" * 2000}),
    "more fields": line(logical_key="odd", more=[1, 2]),
    **{f"bad: {name}": data for name, data in BAD_LINES.items() if len(data) < 10_000},
}


def told(data: bytes, *, proves: bool) -> Any:
    """Return all that can be asked of a manifest, or what is wrong with it."""
    try:
        manifest = Manifest.read([data], proves=proves)
        facts = (manifest.top_hash, manifest.local_key, manifest.files_size_bytes())
        directories = [(item.key, dict(item.meta)) for item in manifest.directories()]
        return facts, list(manifest.entries()), directories, manifest.is_in_order
    except FormatError as exc:
        return str(exc), exc.key, exc.line


@given(
    st.lists(st.text("abc/", min_size=1, max_size=5), max_size=6),
    st.lists(st.sampled_from(sorted(ODD_LINES)), max_size=2),
    st.booleans(),
    st.randoms(),
)
def test_whatever_the_lines_are_one_pass_finds_what_two_find(
    keys: list[str], odd: list[str], is_shuffled: bool, random: Any
) -> None:
    lines = [line(logical_key=key) for key in sorted(keys, key=tree_order)]
    for name in odd:
        lines.insert(random.randrange(len(lines) + 1), ODD_LINES[name])
    if is_shuffled:
        random.shuffle(lines)
    data = HEADER_LINE + b"".join(lines)
    assert told(data, proves=True) == told(data, proves=False)


@given(file_trees(), metadata())
def test_manifests_as_they_are_written_need_one_pass(
    files: dict[str, bytes], meta: dict[str, Any]
) -> None:
    made = Manifest.of(HEADER, [entry(key, data, meta=meta) for key, data in files.items()])
    assert told(made.to_bytes(), proves=True) == told(made.to_bytes(), proves=False)


def test_blocks_of_many_lines_are_compared_at_their_edges() -> None:
    keys = sorted((f"{number % 90}/{number}" for number in range(3000)), key=tree_order)

    def lines(keys: list[str]) -> Iterator[bytes]:
        yield HEADER_LINE
        yield from (line(logical_key=key) for key in keys)

    def same(keys: list[str]) -> Any:
        data = b"".join(lines(keys))
        found = told(data, proves=True)
        assert found == told(data, proves=False)
        return found

    in_order = same(keys)
    assert in_order[-1] is True
    for place in range(1, len(keys), 401):
        swapped = [*keys[: place - 1], keys[place], keys[place - 1], *keys[place + 1 :]]
        out_of_order = same(swapped)
        assert out_of_order[0] == in_order[0]
        assert out_of_order[-1] is False
        twice = same([*keys[:place], keys[place - 1], *keys[place:]])
        assert "duplicate" in twice[0]
