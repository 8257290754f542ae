"""Files that bite when they are read.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 44 | decompression bomb | `test_row_44_...` |
| 45 | pickle | `test_row_45_...` |
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import t4_ops as t4
from tests.doors_support import (
    MIB,
    NAME,
    PLAIN,
    World,
    plant,
    record,
    refused,
)


def small_bounds(size_bytes: int) -> t4.Settings:
    return t4.load_settings(limits=t4.Limits(decompressed_bytes=size_bytes))


@PLAIN
def test_row_44_a_bomb_stops_at_the_bound(world: World) -> None:
    zeros = bytes(4 * MIB)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        array = io.BytesIO()
        np.lib.format.write_array(array, np.zeros(4 * MIB, np.uint8))
        file.writestr("x.npy", array.getvalue())
    bombs = {
        "bomb.txt.gz": gzip.compress(zeros),
        "bomb.json.gz": gzip.compress(b"[" + b" " * (4 * MIB) + b"]"),
        "bomb.csv.zst": pa.Codec("zstd").compress(b"a\n" + b"1\n" * (2 * MIB), asbytes=True),
        "members.txt.gz": gzip.compress(zeros[: MIB // 2]) * 8,
        "bomb.npz": archive.getvalue(),
    }
    planted = plant(
        world.outside,
        *(record(key, world.outside.put(f"o/{key}", data), data) for key, data in bombs.items()),
    )
    bounded = t4.Package.browse(NAME, planted.url, settings=small_bounds(MIB))
    for key, data in bombs.items():
        assert len(data) < MIB / 2
        error = refused(bounded[key].deserialize, t4.FormatError)
        assert key in str(error)
        refused(bounded[key], t4.FormatError)
        # The file itself is no bomb: whoever wants it as it is gets it.
        assert bounded[key].get_bytes() == data
    t4.Package.install(NAME, planted.url, dest=world.dest)
    assert (world.dest / "bomb.txt.gz").read_bytes() == bombs["bomb.txt.gz"]
    unbounded = t4.Package.browse(NAME, planted.url)
    assert len(unbounded["bomb.txt.gz"]()) == len(zeros)
    if not world.outside.is_folder:
        bucket = t4.Bucket(planted.url, settings=small_bounds(MIB))
        for key in bombs:
            refused(lambda k=key: bucket.get(f"o/{k}"), t4.FormatError)


class _Bite:
    """What a pickle runs when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def pickles(bitten: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return files that hold a pickle, by key, with metadata that says how to read them."""
    raw = pickle.dumps(_Bite(bitten))
    array = io.BytesIO()
    np.save(array, np.array([_Bite(bitten)], dtype=object), allow_pickle=True)
    # Older readers of Arrow files unpickled the description of such a type.
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": raw,
    }
    schema = pa.schema([pa.field("x", pa.int64(), metadata=extension)])
    table = pa.table({"x": [1]}, schema=schema)
    parquet, feather = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_file(feather, schema) as writer:
        writer.write_table(table)
    arrays = io.BytesIO()
    np.savez(arrays, x=np.array([_Bite(bitten)], dtype=object))
    return {
        "bare.npy": (raw, {}),
        "object.npy": (array.getvalue(), {}),
        "object.npz": (arrays.getvalue(), {}),
        "object.npy.gz": (gzip.compress(array.getvalue()), {}),
        "bare.parquet": (raw, {}),
        "bare.arrow": (raw, {}),
        "typed.parquet": (parquet.getvalue(), {}),
        "typed.arrow": (feather.getvalue(), {}),
        "named.bin": (raw, {"format": {"name": "pickle"}}),
        "named.pkl": (raw, {"format": {"name": "pickle"}, "target": "pickle"}),
        "allowed.npy": (
            array.getvalue(),
            {"format": {"name": "numpy", "opts": {"allow_pickle": True}}},
        ),
        "unknown.pkl": (raw, {}),
        "unknown.pickle.gz": (gzip.compress(raw), {}),
    }


@PLAIN
def test_row_45_nothing_is_unpickled(world: World) -> None:
    bitten = world.root / "bitten"
    files = pickles(bitten)
    planted = plant(
        world.outside,
        *(
            record(key, world.outside.put(f"o/{key}", data), data, meta=meta)
            for key, (data, meta) in files.items()
        ),
    )
    package = t4.Package.browse(NAME, planted.url)
    for key, (data, _) in files.items():
        refused(package[key].deserialize, t4.FormatError)
        refused(package[key], t4.FormatError)
        assert package[key].get_bytes() == data
        assert not bitten.exists(), key
    for key in ("object.npy", "object.npz", "allowed.npy"):
        refused(lambda k=key: package[k].deserialize(allow_pickle=True), t4.InvalidInputError)
    t4.Package.install(NAME, planted.url, dest=world.dest)
    if not world.outside.is_folder:
        # The same objects, less the metadata that calls mere bytes a pickle.
        for key in files.keys() - {"named.bin"}:
            refused(lambda k=key: t4.Bucket(planted.url).get(f"o/{k}"), t4.FormatError)
    assert not bitten.exists()
    # The bait is real: whoever unpickles it is bitten.
    pickle.loads(files["bare.npy"][0])  # noqa: S301
    assert bitten.exists()


def test_row_45_no_object_is_pickled(local: World) -> None:
    package = t4.Package()
    for key, value in (
        ("a.npy", np.array([object()], dtype=object)),
        ("a.npz", {"x": np.array([{}], dtype=object)}),
        ("a.pkl", {"a": 1}),
        ("a.parquet", object()),
        ("a.json", {"a": object()}),
        ("a", object()),
    ):
        refused(lambda k=key, v=value: package.set(k, v), t4.InvalidInputError)
    assert package.keys() == []
