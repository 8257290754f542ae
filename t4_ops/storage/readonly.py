"""Stores that read, and refuse whatever would change what they hold."""

from __future__ import annotations

from typing import Any, NoReturn

from t4_ops.errors import InvalidInputError
from t4_ops.storage.folder import FolderStore
from t4_ops.storage.s3 import S3Store


class _ReadOnly:
    """In front of a store: every method of it that changes something, refused."""

    url: str

    def _refuse(self, *_arguments: object, **_named: object) -> NoReturn:
        raise InvalidInputError(
            f"{self.url} is read-only here, by the setting `read_only` or by the connection that"
            " was used: name another registry to write to, or allow it there",
            key=self.url,
        )

    # Any: a store's own signatures are narrower, and none is looked at.
    copy_from: Any = _refuse
    create_empty: Any = _refuse
    delete: Any = _refuse
    delete_many: Any = _refuse
    remove_leftover: Any = _refuse
    replace: Any = _refuse
    set_user_metadata: Any = _refuse
    upload: Any = _refuse
    upload_ranges: Any = _refuse
    write: Any = _refuse


class ReadOnlyFolder(_ReadOnly, FolderStore):
    """A folder that nothing is changed in."""


class ReadOnlyBucket(_ReadOnly, S3Store):
    """A bucket that nothing is changed in."""
