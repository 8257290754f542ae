"""A manifest written anew after edits: the same bytes, whether lines were kept or encoded."""

import io
import random
from pathlib import Path

import pytest

import t4_ops as t4
from t4_ops.checksums import checksum_of
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.manifest import Entry, Kept, Manifest, top_hash_of
from t4_ops.package.contents import Contents

HEADER = {"version": "v0", "message": "Größe", "user_meta": {"n": 1}}


def entry(key: str, text: str = "x") -> Entry:
    meta = {"user_meta": {"label": f"雪 {text}", "number": 1e16}}
    return Entry(key, f"s3://bucket/{key}", len(text), checksum_of(text.encode()), meta)


def keys_of(count: int) -> list[str]:
    """Folders of a hundred, of which every third has a folder among its files."""
    found = []
    for number in range(count):
        folder, file = divmod(number, 100)
        inner = "inner/" if folder % 3 == 0 and 40 <= file < 50 else ""
        found.append(f"f{folder:03}/{file:03}{'/' + inner if inner else ''}{number}.bin")
    return found


def manifest_of(count: int) -> Manifest:
    return Manifest.of(HEADER, [entry(key) for key in keys_of(count)])


def same_as_encoded(contents: Contents) -> None:
    """Assert that keeping lines gives what encoding every entry gives, and its top hash."""
    kept = Manifest.of(HEADER, contents.pieces(), contents.directories())
    plain = Manifest.of(HEADER, list(contents.entries()), contents.directories())
    assert kept.to_bytes() == plain.to_bytes()
    assert kept.is_in_order
    assert contents.top_hash(HEADER) == top_hash_of(HEADER, contents.entries())
    assert kept.top_hash == plain.top_hash == contents.top_hash(HEADER)
    assert Manifest.from_bytes(kept.to_bytes()).top_hash == kept.top_hash


@pytest.mark.parametrize("seed", range(12))
def test_random_edits_give_the_bytes_of_a_manifest_made_anew(seed: int) -> None:
    rng = random.Random(seed)
    base = manifest_of(3000)
    contents = Contents(base, DEFAULT_LIMITS)
    keys = keys_of(3000)
    for number in range(rng.choice([1, 5, 60, 900])):
        key = rng.choice(keys)
        act = rng.randrange(6)
        if act == 0 and contents.get(key) is not None:
            contents.delete(key)
        elif act == 1 and contents.has_folder(key[:5]) and rng.random() < 0.2:
            contents.delete(key[:4])
        elif act == 2:
            contents.set(entry(f"{key[:5]}new-{number}", "new"))
        elif act == 3:
            contents.set(entry(rng.choice(["000", "zzz/last", "f003/x/y/z"]) + f"-{number}"))
        else:
            contents.set(entry(key, f"changed {number}"))
    contents.set_folder_meta("of/its/own/", {"a": 1})
    same_as_encoded(contents)


def test_edits_at_both_ends_and_of_everything() -> None:
    for change in ("!first", "~last"):
        contents = Contents(manifest_of(1200), DEFAULT_LIMITS)
        contents.set(entry(change))
        same_as_encoded(contents)
    contents = Contents(manifest_of(1200), DEFAULT_LIMITS)
    for folder in list(contents.children()):
        contents.delete(folder[:-1])
    same_as_encoded(contents)
    assert not list(contents.pieces())
    contents.set(entry("f005/again"))
    same_as_encoded(contents)


def test_an_edit_keeps_the_lines_of_all_other_entries() -> None:
    contents = Contents(manifest_of(20_000), DEFAULT_LIMITS)
    contents.set(entry(keys_of(20_000)[10_000], "changed"))
    kept = [piece for piece in contents.pieces() if isinstance(piece, Kept)]
    assert sum(piece.end - piece.first for piece in kept) == 19_999
    assert len(kept) == 2


def test_a_line_is_kept_as_another_client_wrote_it(tmp_path: Path) -> None:
    # Without spaces, and with a field that nobody knows: nothing of it is ours to change.
    line = (
        b'{"logical_key":"a/b","physical_keys":["s3://bucket/a/b"],"size":1,'
        b'"hash":{"type":"SHA256","value":"' + b"0" * 64 + b'"},"meta":{},"other":1}\n'
    )
    package = t4.Package.load(io.BytesIO(b'{"version": "v0"}\n' + line))
    before = package.top_hash
    package.set("c", package["a/b"])
    written = io.BytesIO()
    package.dump(written)
    assert line in written.getvalue()
    package.delete("c")
    assert package.top_hash == before


def test_damage_in_a_kept_line_shows_in_the_top_hash() -> None:
    lines = manifest_of(2000).to_bytes().split(b"\n")
    lines[1500] = lines[1500].replace(b'"size": 1', b'"size": -1')
    package = t4.Package.load(io.BytesIO(b"\n".join(lines)))
    package.delete("f000")
    with pytest.raises(t4.FormatError, match="size -1"):
        _ = package.top_hash
