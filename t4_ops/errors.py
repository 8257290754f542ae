"""The error tree: one class for each thing the caller does next.

```
T4Error                          the caller should ...
├─ InvalidInputError  ValueError    fix the input; nothing was written
├─ NotFoundError      LookupError   check the name, hash or key
├─ ConflictError                    re-read, decide, push again
├─ IntegrityError                   stop: the bytes are not what was promised
├─ ExpectationError                 mend what made the revision: it lacks what its user expects
├─ FormatError        ValueError    repair or replace the manifest or file
└─ StorageError                     try again if `.retryable`, else fix the storage
```

Facts are attributes, so that code need not read prose; every class pickles, because Prefect
results and process pools send exceptions between processes.
"""

from __future__ import annotations

from typing import Any


def _restore(cls: type[T4Error], message: str, facts: dict[str, Any]) -> T4Error:
    return cls(message, **facts)


class T4Error(Exception):
    """The root of every error this library raises on purpose.

    Attributes:
        message: What happened, to which key, and what to do.
        retryable: Whether the same call may succeed later; only a `StorageError` is ever so.
    """

    message: str
    retryable: bool = False

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self._facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from message and facts: keyword arguments alone would not survive a pickle."""
        return _restore, (type(self), self.message, self._facts)


class InvalidInputError(T4Error, ValueError):
    """The input breaks a rule; nothing was written.

    Attributes:
        key: The offending logical key, name or URL, if there is one.
    """

    key: str | None

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message, key=key)


class NotFoundError(T4Error, LookupError):
    """A package, revision, entry or object is not there.

    Attributes:
        key: What was looked for.
    """

    key: str | None

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message, key=key)


class ConflictError(T4Error):
    """Somebody else moved what this call wanted to move.

    Attributes:
        name: The package name.
        expected: The top hash this call expected `latest` to hold; None: no such package.
        actual: The top hash `latest` holds; None: no such package.
    """

    name: str | None
    expected: str | None
    actual: str | None

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
    ) -> None:
        super().__init__(message, name=name, expected=expected, actual=actual)


class IntegrityError(T4Error):
    """The bytes are not the ones that were promised.

    Attributes:
        key: The logical key or URL of the object.
        expected: The promised hash or size.
        actual: The hash or size that was found.
    """

    key: str | None
    expected: str | None
    actual: str | None

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
    ) -> None:
        super().__init__(message, key=key, expected=expected, actual=actual)


class ExpectationError(T4Error):
    """A revision is sound, but not what its user said it must be.

    Attributes:
        unmet: What was expected and is not so, a sentence each.
        uri: Package URI of the revision.
    """

    unmet: tuple[str, ...]
    uri: str | None

    def __init__(
        self, message: str, *, unmet: tuple[str, ...] = (), uri: str | None = None
    ) -> None:
        super().__init__(message, unmet=unmet, uri=uri)


class FormatError(T4Error, ValueError):
    """A manifest, pointer or file can't be read as what it claims to be.

    Attributes:
        key: Where it was read from, or the logical key.
        line: One-based line of the manifest, if known.
    """

    key: str | None
    line: int | None

    def __init__(self, message: str, *, key: str | None = None, line: int | None = None) -> None:
        super().__init__(message, key=key, line=line)


class StorageError(T4Error):
    """The storage did not do what it was asked.

    Attributes:
        key: The URL or key of the object.
        retryable: True if the same call may succeed later (throttling, time-out, reset).
    """

    key: str | None
    retryable: bool

    def __init__(self, message: str, *, key: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, key=key, retryable=retryable)
