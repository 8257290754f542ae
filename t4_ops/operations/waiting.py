"""Waiting for a revision: what sensors ask, once or until it is so."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, TypedDict

from t4_ops.errors import InvalidInputError, StorageError
from t4_ops.keys import (
    PackageRef,
    RegistryLike,
    is_top_hash,
    normalize_registry,
    validate_hash_prefix,
    validate_name,
)
from t4_ops.ledger import internal
from t4_ops.operations.expecting import Expectations
from t4_ops.operations.looking import Part
from t4_ops.operations.pointing import latest
from t4_ops.operations.recording import check_stop, result_of
from t4_ops.operations.results import StepResult
from t4_ops.settings import Settings, load_settings


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is waited for: the package is there, and all that is given is so. JSON values only.

    Attributes:
        name: Package name.
        registry: Where; None is the default registry.
        moved_since: A top hash that `latest` must have left.
        equals: The top hash `latest` must hold, or at least 6 digits it begins with.
        contains: Logical keys it must have, as in `Expectations.has`.
    """

    name: str
    registry: str | None = None
    moved_since: str | None = None
    equals: str | None = None
    contains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values; empty text, as templates render nothing, is None.

        Raises:
            InvalidInputError: One is wrong.
        """
        validate_name(self.name)
        for name in ("registry", "moved_since", "equals"):
            object.__setattr__(self, name, getattr(self, name) or None)
        if self.registry is not None:
            object.__setattr__(self, "registry", normalize_registry(self.registry))
        if self.moved_since is not None and not is_top_hash(self.moved_since):
            raise InvalidInputError(f"moved_since={self.moved_since!r}: give a full top hash")
        if self.equals is not None:
            validate_hash_prefix(self.equals)
        object.__setattr__(self, "contains", Expectations(has=self.contains).has)

    @classmethod
    def of(cls, value: Any) -> Condition:
        """Return a condition from itself or its JSON form.

        Raises:
            InvalidInputError: A name or a value does not fit.
        """
        if isinstance(value, Condition):
            return value
        known = [item.name for item in fields(cls)]
        if not isinstance(value, Mapping) or not set(value) <= set(known) or "name" not in value:
            raise InvalidInputError(
                f"{value!r}: a condition has a name, and {', '.join(known[1:])}"
            )
        return cls(**value)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "contains": list(self.contains)}


ConditionLike: TypeAlias = Condition | Mapping[str, Any]
"""A `Condition`, or a mapping of its fields."""


class CheckResult(TypedDict):
    """The answer to a question that may be asked again.

    Attributes:
        met: Whether it is so.
        reason: What is not, else what is.
        registry: Normalised registry.
        name: Package name.
        top_hash: What `latest` holds; None: there is no such package.
        uri: Package URI of that revision; None as well.
    """

    met: bool
    reason: str
    registry: str
    name: str
    top_hash: str | None
    uri: str | None


def moved_from_now(
    name: str, *, registry: RegistryLike | None = None, settings: Settings | None = None
) -> Condition:
    """Return the condition that `latest` leaves what it holds now, or appears.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        settings: Settings; None loads the user's.
    """
    settings = settings or load_settings()
    url = normalize_registry(registry or settings.registry)
    held = latest(name, registry=url, settings=settings)
    return Condition(name=name, registry=url, moved_since=None if held is None else held.top_hash)


def check(
    condition: ConditionLike, *, seen: str | None = None, settings: Settings | None = None
) -> CheckResult:
    """Return whether a condition is so now, without waiting.

    It costs one read of `latest`; where keys are asked for also a look into the manifest, which
    large packages have an index for.

    Args:
        condition: What is asked.
        seen: The top hash of an answer that it is not so: that revision is not looked into again.
        settings: Settings; None loads the user's.

    Raises:
        FormatError: `latest` is damaged.
        IntegrityError: The stored manifest is not the one of its hash.
        StorageError: The storage does not answer.
    """
    condition, settings = Condition.of(condition), settings or load_settings()
    url = condition.registry or settings.registry
    held = latest(condition.name, registry=url, settings=settings)
    if held is None:
        return _answer(url, condition.name, None, f"{url} has no package {condition.name!r} yet")
    top_hash = held.top_hash
    if top_hash == condition.moved_since:
        why = f"`latest` is still {top_hash}"
    elif condition.equals is not None and not top_hash.startswith(condition.equals):
        why = f"`latest` is {top_hash}, not {condition.equals}"
    elif condition.contains and top_hash == seen:
        why = f"{top_hash} was looked into before and lacks a key"
    else:
        unmet = _unmet(held, condition, settings)
        why = f"{top_hash}: {'; '.join(unmet)}" if unmet else ""
    return _answer(url, condition.name, held, why)


def _unmet(held: PackageRef, condition: Condition, settings: Settings) -> list[str]:
    if not condition.contains:
        return []
    with internal():
        return Part(held, settings, is_proved=False).unmet(Expectations(has=condition.contains))


def _answer(url: str, name: str, held: PackageRef | None, why: str) -> CheckResult:
    return CheckResult(
        met=not why,
        reason=why or f"`latest` is {held.top_hash if held else None}",
        registry=url,
        name=name,
        top_hash=None if held is None else held.top_hash,
        uri=None if held is None else held.uri,
    )


def wait_for(
    condition: ConditionLike,
    *,
    timeout_s: float | None,
    poll_s: float = 30.0,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Wait until a condition is so, and return the revision, pinned.

    Storage errors that may pass are waited out; all others end it.

    Args:
        condition: What is waited for.
        timeout_s: How long at most; None: for ever. 0 asks once.
        poll_s: Seconds between two looks.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        TimeoutError: It is not so yet; the message says what it lacks.
        Cancelled: `stop` was set.
    """
    if not poll_s > 0:
        raise InvalidInputError(f"poll_s is {poll_s}: it must be above 0")
    condition, settings = Condition.of(condition), settings or load_settings()
    stop = stop or threading.Event()
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    seen: str | None = None
    while True:
        check_stop(stop)
        answer = _patient_check(condition, seen, settings)
        if answer["met"]:
            try:
                return _found(answer, settings)
            except StorageError as exc:
                if not exc.retryable:
                    raise
                answer["reason"] = f"the storage does not answer: {exc}"
        else:
            seen = answer["top_hash"]
        left_s = poll_s if end_s is None else min(poll_s, end_s - time.monotonic())
        if left_s <= 0:
            raise TimeoutError(f"{condition.name!r} after {timeout_s:g} s: {answer['reason']}")
        stop.wait(left_s)


def _found(answer: CheckResult, settings: Settings) -> StepResult:
    ref = PackageRef(answer["registry"], answer["name"], str(answer["top_hash"]))
    with internal():
        part = Part(ref, settings, is_proved=False)
        return result_of(ref, *part.totals(), changed=False)


def _patient_check(condition: Condition, seen: str | None, settings: Settings) -> CheckResult:
    try:
        return check(condition, seen=seen, settings=settings)
    except StorageError as exc:
        if not exc.retryable:
            raise
        url = condition.registry or settings.registry
        return _answer(url, condition.name, None, f"the storage does not answer: {exc}")
