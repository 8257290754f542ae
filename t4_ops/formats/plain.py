"""Text and raw bytes."""

from __future__ import annotations

from t4_ops.formats.base import PlainHandler


class TextHandler(PlainHandler):
    """`str` as UTF-8, without touching line ends or a byte order mark.

    quilt3 8.0.0 calls it "utf-8" and knows txt, md and rst; it reads the others by that name.
    "unicode" is what older Quilt clients wrote.
    """

    name = "utf-8"
    aliases = ("unicode",)
    extensions = (
        *("txt", "md", "rst", "log", "yaml", "yml", "xml", "html", "htm", "toml", "ini", "cfg"),
        *("conf", "sql", "py", "r", "sh", "js", "css", "svg", "tex", "bib"),
    )
    accepts = "str"

    def handles(self, obj: object) -> bool:
        """Whether `obj` is text."""
        return isinstance(obj, str)

    def encode(self, obj: object) -> bytes:
        """Encode as UTF-8; a lone surrogate is refused."""
        return str(obj).encode("utf-8")

    def decode(self, data: bytes) -> object:
        """Decode UTF-8."""
        return data.decode("utf-8")


class BytesHandler(PlainHandler):
    """`bytes`, as they are; called "bytes" by quilt3 8.0.0 too."""

    name = "bytes"
    extensions = ("bin",)
    accepts = "bytes"

    def handles(self, obj: object) -> bool:
        """Whether `obj` is bytes."""
        return isinstance(obj, bytes)

    def encode(self, obj: object) -> bytes:
        """Keep the bytes."""
        assert isinstance(obj, bytes)
        return obj

    def decode(self, data: bytes) -> object:
        """Give the bytes."""
        return data
