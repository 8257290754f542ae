"""The error tree: its shape, its messages, and that every error survives a pickle."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NoReturn

import pytest

from t4_ops import errors
from t4_ops.errors import (
    ConflictError,
    ExpectationError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    T4Error,
)

FACTS: list[tuple[type[T4Error], dict[str, Any]]] = [
    (InvalidInputError, {"key": "a/../b"}),
    (NotFoundError, {"key": "ns/name"}),
    (ConflictError, {"name": "ns/name", "expected": None, "actual": "ab" * 32}),
    (IntegrityError, {"key": "s3://b/k", "expected": "ab" * 32, "actual": "cd" * 32}),
    (ExpectationError, {"unmet": ("'a' is missing",), "uri": "quilt+s3://b#package=ns/n"}),
    (FormatError, {"key": "s3://b/k", "line": 7}),
    (StorageError, {"key": "s3://b/k", "retryable": True}),
]
CLASSES = [cls for cls, _ in FACTS]


def names_of(cls: type[T4Error]) -> str:
    return cls.__name__


@pytest.mark.parametrize(("cls", "facts"), FACTS, ids=[names_of(cls) for cls in CLASSES])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_with_message_and_facts(
    cls: type[T4Error], facts: dict[str, Any], protocol: int
) -> None:
    copy = pickle.loads(pickle.dumps(cls("it broke: mend it", **facts), protocol))  # noqa: S301
    assert type(copy) is cls
    assert str(copy) == copy.message == "it broke: mend it"
    assert {name: getattr(copy, name) for name in facts} == facts


def raise_conflict() -> NoReturn:
    raise ConflictError("moved", name="ns/name", expected="ab", actual="cd")


def test_crosses_from_another_process() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(ConflictError, match="moved") as caught,
    ):
        pool.submit(raise_conflict).result(timeout=60)
    error = caught.value
    assert (error.name, error.expected, error.actual) == ("ns/name", "ab", "cd")


@pytest.mark.parametrize(("cls", "facts"), FACTS, ids=[names_of(cls) for cls in CLASSES])
def test_facts_default_to_unknown(cls: type[T4Error], facts: dict[str, Any]) -> None:
    error = cls("it broke")
    assert {getattr(error, name) for name in facts} <= {None, False, ()}


def test_one_flat_family() -> None:
    declared = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, T4Error) and value is not T4Error
    }
    assert declared == set(CLASSES)
    assert all(cls.__bases__[0] is T4Error for cls in CLASSES)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [(InvalidInputError, ValueError), (FormatError, ValueError), (NotFoundError, LookupError)],
)
def test_is_caught_by_the_builtin_that_python_users_expect(
    cls: type[T4Error], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="no such thing"):
        raise cls("no such thing")


def test_a_message_of_a_missing_thing_is_not_quoted() -> None:
    assert str(NotFoundError("no package a/b")) == "no package a/b"


def test_every_class_is_drawn_in_the_tree_with_what_to_do() -> None:
    drawing = errors.__doc__ or ""
    assert all(name in drawing for name in ("T4Error", *map(names_of, CLASSES)))
