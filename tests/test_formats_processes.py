"""What only a fresh process shows: imports, the same bytes, plug-ins, hostile files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import t4_ops

ROOT = Path(t4_ops.__file__).parents[1]


def run(script: str, *paths: Path, hash_seed: str = "random") -> Any:
    """Run a script in a fresh Python and return what it printed, read as JSON."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT])),
        "PYTHONHASHSEED": hash_seed,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Imports


@pytest.mark.parametrize(
    "use",
    [
        "",
        "formats.deserialize(formats.serialize({'a': [1]}, 'a.json.gz').data, 'a.json.gz')",
        "formats.deserialize(formats.serialize('text', 'a.txt').data, 'a.txt')",
        "formats.is_serializable(b'')",
    ],
)
def test_heavy_libraries_are_loaded_only_when_used(use: str) -> None:
    loaded = run(f"""
        import json, sys
        from t4_ops import formats
        {use}
        heavy = {{"numpy", "pandas", "pyarrow"}}
        print(json.dumps(sorted(heavy & set(sys.modules))))
        """)
    assert loaded == []


# The same bytes

DIGESTS = """
    import hashlib, json
    import numpy as np, pandas as pd, pyarrow as pa
    from t4_ops import formats

    frame = pd.DataFrame({
        "i": range(5000),
        "f": np.random.default_rng(1).random(5000),
        "s": [f"wörd {n % 700}" for n in range(5000)],
        "c": pd.Categorical(["a", "b"] * 2500),
        "t": pd.date_range("2026-01-01", periods=5000, freq="min", tz="UTC"),
    })
    table = pa.Table.from_pandas(frame).replace_schema_metadata({"b": "1", "a": "2"})
    arrays = {"b": np.arange(10), "a": np.eye(3)}
    cases = [
        (frame, "t.parquet"), (table, "t.parquet"), (frame, "t.csv"), (table, "t.tsv"),
        (frame, "t.arrow"), (table, "t.feather"), (np.eye(3), "a.npy"), (arrays, "a.npz"),
        ({"b": 1, "a": {"z": [1.5]}}, "a.json"), ([{"b": 1, "a": 2}], "a.jsonl"), ("text", "a.txt"),
    ]
    digests = {}
    for obj, key in cases:
        for wrapper in ("", ".gz", ".zst"):
            once = formats.serialize(obj, key + wrapper)
            assert formats.serialize(obj, key + wrapper) == once
            name = f"{type(obj).__name__} {key}{wrapper}"
            digests[name] = hashlib.sha256(once.data).hexdigest(), once.meta
    print(json.dumps(digests))
    """


def test_every_process_writes_the_same_bytes() -> None:
    first, second = (run(DIGESTS, hash_seed=seed) for seed in ("1", "2"))
    assert len(first) == 33
    assert first == second


# Registered handlers and plug-ins

COLOUR = """
    from pathlib import Path

    from t4_ops.formats import FormatHandler

    Path(__file__).with_name("loads").open("a").write("x")


    class Colour:
        def __init__(self, code):
            self.code = code


    class ColourHandler(FormatHandler):
        name = "colour"
        extensions = ("col",)
        opts = ("upper",)
        accepts = "Colour"

        def handles(self, obj):
            return isinstance(obj, Colour)

        def serialize(self, obj, *, extension, opts):
            code = obj.code.upper() if opts.get("upper") else obj.code
            return code.encode(), {"opts": dict(opts)}

        def deserialize(self, data, *, extension, opts, max_size_bytes):
            return Colour(bytes.fromhex(data.decode()).hex())


    handler = ColourHandler()
    """


def install(folder: Path, entry_points: str, **modules: str) -> Path:
    """Lay out a distribution as an installer would."""
    info = folder / "colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[t4_ops.formats]\n{entry_points}\n")
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return folder


@pytest.mark.parametrize("offered", ["ColourHandler", "handler"])
def test_a_plug_in_is_found_once_and_only_when_needed(tmp_path: Path, offered: str) -> None:
    folder = install(tmp_path, f"colour = colours:{offered}", colours=COLOUR)
    found = run(
        """
        import json, sys
        from t4_ops import formats
        formats.deserialize(formats.serialize({"a": 1}, "a.json").data, "a.json")
        early = "colours" in sys.modules
        by_name = formats.deserialize(b"ff0000", "anything", {"format": {"name": "colour"}})
        import colours
        serialized = formats.serialize(colours.Colour("00ff00"), "a.col.gz", opts={"upper": True})
        back = formats.deserialize(serialized.data, "a.col.gz", serialized.meta)
        try:
            formats.deserialize(b"zz", "a.col")
        except formats.codec.FormatError as error:
            told = error.key
        print(json.dumps([
            early, by_name.code, back.code, serialized.meta, told,
            formats.is_serializable(back), formats.serialize(back, "no-extension").meta["target"],
        ]))
        """,
        folder,
    )
    meta = {"format": {"name": "colour", "opts": {"upper": True}}, "target": "colour"}
    assert found == [False, "ff0000", "00ff00", meta, "a.col", True, "colour"]
    assert (tmp_path / "loads").read_text() == "x"


@pytest.mark.parametrize(
    ("offered", "cause"),
    [
        ("broken:handler", "RuntimeError: out of paint"),
        ("missing:handler", "No module named 'missing'"),
        ("colours:nothing", "nothing"),
        ("colours:Colour", "TypeError"),
        ("colours:Path", "is no FormatHandler"),
    ],
)
def test_a_broken_plug_in_is_told_only_where_its_format_is_asked_for(
    tmp_path: Path, offered: str, cause: str
) -> None:
    source = 'raise RuntimeError("out of paint")\n'
    folder = install(tmp_path, f"paint = {offered}", colours=COLOUR, broken=source)
    told = run(
        """
        import json
        from t4_ops import formats
        from t4_ops.errors import FormatError, InvalidInputError
        formats.serialize({"a": 1}, "a.json")
        try:
            formats.deserialize(b"", "a.unknown")
        except FormatError as error:
            told = [error.message]
        attempts = [
            (FormatError, lambda: formats.deserialize(b"", "a.paint")),
            (FormatError, lambda: formats.deserialize(b"", "a", {"target": "paint"})),
            (InvalidInputError, lambda: formats.serialize({"a": 1}, "a.paint")),
            (InvalidInputError, lambda: formats.serialize(b"raw", "a.paint")),
        ]
        for error_class, attempt in attempts:
            try:
                attempt()
            except error_class as error:
                assert error.__cause__ is not None
                told.append(error.message)
        print(json.dumps(told))
        """,
        folder,
    )
    assert len(told) == 5
    assert "paint'" not in told[0]
    for message in told[1:]:
        assert f"'paint' ({offered} of colours)" in message
        assert cause in message


def test_a_registered_handler_goes_first(tmp_path: Path) -> None:
    (tmp_path / "colours.py").write_text(textwrap.dedent(COLOUR))
    found = run(
        """
        import json
        import colours
        from t4_ops import formats
        from t4_ops.errors import InvalidInputError

        class Shout(colours.ColourHandler):
            name = "utf-8"
            extensions = ("txt",)
            opts = ()
            def handles(self, obj):
                return isinstance(obj, str)
            def serialize(self, obj, *, extension, opts):
                return obj.upper().encode(), {}
            def deserialize(self, data, *, extension, opts, max_size_bytes):
                return data.decode().lower()

        formats.register(colours.ColourHandler())
        shout = Shout()
        formats.register(shout)
        formats.register(shout)
        refused = []
        for wrong in (Shout, "handler"):
            try:
                formats.register(wrong)
            except InvalidInputError as error:
                refused.append(error.message)
        print(json.dumps([
            formats.serialize("quiet", "a.txt").data.decode(),
            formats.deserialize(b"LOUD", "a.txt"),
            formats.deserialize(b"LOUD", "a.md", {"target": "utf-8"}),
            formats.serialize("quiet", "a.md").data.decode(),
            formats.serialize(colours.Colour("0f"), "a").meta["target"],
            len(refused),
        ]))
        """,
        tmp_path,
    )
    # Of two handlers of one name, the one that knows the extension reads.
    assert found == ["QUIET", "loud", "LOUD", "quiet", "colour", 2]


# Hostile files

PICKLED = """
    import io, json, pickle, sys
    from pathlib import Path
    import pyarrow as pa
    from pyarrow import ipc, parquet
    from t4_ops import formats
    from t4_ops.errors import FormatError

    mark = Path(MARK)

    class Payload:
        def __reduce__(self):
            return Path.write_text, (mark, "executed")

    class Unpickling(pa.ExtensionType):
        # What pyarrow before 14.0.1 did by itself for this name.
        def __init__(self, storage):
            super().__init__(storage, "arrow.py_extension_type")
        def __arrow_ext_serialize__(self):
            return b""
        @classmethod
        def __arrow_ext_deserialize__(cls, storage, serialized):
            pickle.loads(serialized)
            return cls(storage)

    hidden = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Payload()),
    }
    schema = pa.schema([pa.field("a", pa.int64(), metadata=hidden)])
    files = {"t.parquet": io.BytesIO(), "t.arrow": io.BytesIO()}
    parquet.write_table(pa.table([[1]], schema), files["t.parquet"])
    with ipc.new_file(files["t.arrow"], schema) as writer:
        writer.write_table(pa.table([[1]], schema))

    pa.register_extension_type(Unpickling(pa.int64()))
    seen = []
    for key, file in files.items():
        try:
            formats.deserialize(file.getvalue(), key)
        except FormatError:
            seen.append(["refused", mark.exists()])
        # Others do run it: the test is no blank cartridge.
        source = pa.BufferReader(file.getvalue())
        parquet.ParquetFile(source) if key == "t.parquet" else ipc.open_file(source)
        seen.append(["opened by pyarrow alone", mark.exists()])
        mark.unlink()
    print(json.dumps(seen))
    """


def test_a_pickle_inside_a_schema_is_never_run(tmp_path: Path) -> None:
    seen = run(PICKLED.replace("MARK", repr(str(tmp_path / "mark"))))
    assert seen == [["refused", False], ["opened by pyarrow alone", True]] * 2


MUTATIONS = """
    import io, json, random
    import pyarrow as pa
    from pyarrow import ipc, parquet
    from t4_ops import formats
    from t4_ops.errors import FormatError

    table = pa.table({
        "i": range(20),
        "s": [f"s{n}" for n in range(20)],
        "d": pa.array(["x", "y"] * 10).dictionary_encode(),
        "l": [[{"p": "q", "m": [["x"]]}]] * 20,
        "f": pa.array([b"1234"] * 20, pa.binary(4)),
    })
    files = []
    for options in ({}, {"compression": "zstd", "data_page_version": "2.0"}):
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, **options)
        files.append(("t.parquet", buffer.getvalue()))
    for codec in (None, "lz4"):
        buffer = io.BytesIO()
        with ipc.new_file(
            buffer, table.schema, options=ipc.IpcWriteOptions(compression=codec)
        ) as writer:
            writer.write_table(table)
        files.append(("t.arrow", buffer.getvalue()))
    generator = random.Random(SEED)
    counts = {"read": 0, "refused": 0}
    for _ in range(700):
        key, data = generator.choice(files)
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            # The second half holds the footer, where the most can go wrong.
            position = generator.randrange(generator.choice([0, len(data) // 2]), len(data))
            damaged[position] = generator.choice([0, 255, 127, 128, generator.randrange(256)])
        try:
            formats.deserialize(bytes(damaged), key, max_size_bytes=10_000_000)
            counts["read"] += 1
        except FormatError as error:
            assert error.key == key
            counts["refused"] += 1
    print(json.dumps(counts))
    """


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_never_end_the_process(seed: int) -> None:
    counts = run(MUTATIONS.replace("SEED", str(seed)))
    assert counts["read"] > 0
    assert counts["refused"] > 100
