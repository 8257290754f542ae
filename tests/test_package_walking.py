"""A walk beside a manifest says of keys in order which it surely has, and bounds what it passes."""

from itertools import pairwise

from t4_ops.checksums import checksum_of
from t4_ops.keys import tree_order
from t4_ops.manifest import Entry, Manifest
from t4_ops.package.walking import KeyWalk


def manifest_of(keys: list[str]) -> Manifest:
    entries = [Entry(key, "s3://b/x", 1, checksum_of(b"x")) for key in sorted(keys, key=tree_order)]
    return Manifest.of({"version": "v0"}, entries)


def test_keys_in_order_are_found_and_others_are_not() -> None:
    held = [f"d{folder}/f{file:03}" for folder in range(5) for file in range(100)] + ["d-1", "d9"]
    asked = sorted([*held, "a", "d0", "d1/f050x", "zz"], key=tree_order)
    walk = KeyWalk(manifest_of(held))
    assert [key for key in asked if walk.has(key)] == sorted(held, key=tree_order)


def test_a_key_out_of_order_is_not_found_and_does_no_harm() -> None:
    walk = KeyWalk(manifest_of(["a", "b", "c"]))
    assert walk.has("b")
    assert not walk.has("a")
    assert walk.has("c")
    assert not walk.has("d")
    assert not walk.has("c")


def test_few_keys_of_a_large_manifest_cost_a_few_steps() -> None:
    keys = [f"{number:06}" for number in range(20_000)]
    assert all(one < other for one, other in pairwise(keys))
    walk = KeyWalk(manifest_of(keys))
    assert walk.has("000001")
    # So far away that walking there would cost more than searching.
    assert not walk.has("019999")
