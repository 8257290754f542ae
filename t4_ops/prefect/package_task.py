"""`@package_task`: a function that takes packages and returns what becomes the next revision.

    @package_task("shop/report", registry="s3://bucket", install=["orders"])
    def report(orders):
        return pandas.read_csv(orders / "orders.csv").describe()

    report("shop/orders")

`orders` is a folder with the files of the newest revision, pinned when the task began. What is
returned is published with its lineage, and the task's result is that revision.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from t4_ops import operations
from t4_ops.errors import InvalidInputError, T4Error
from t4_ops.keys import NOW
from t4_ops.prefect import assets
from t4_ops.prefect._finishing import pushed
from t4_ops.prefect._moves import Publishing, begin
from t4_ops.prefect._reach import Where, reach, url_of
from t4_ops.prefect._runs import is_retryable, run_info
from t4_ops.prefect._step import PackageTask, options_of, refuse_caching, with_our_hooks
from t4_ops.prefect.artifacts import progress_shown
from t4_ops.prefect.revisions import Revision, plain
from t4_ops.settings import Settings

if TYPE_CHECKING:
    from t4_ops.operations import ColumnLineageLike, Expected, InputLike, PackageLike, StepResult

Name: TypeAlias = str | Callable[[Mapping[str, Any]], str]
"""A package's name, or a function that makes it of a call's arguments."""


def package_task(
    name: Name,
    *,
    registry: Where = None,
    install: str | Iterable[str] = (),
    browse: str | Iterable[str] = (),
    source_registry: Where = None,
    key: str | None = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
    **options: Any,
) -> Callable[[Callable[..., Any]], PackageTask[..., Revision]]:
    """Make a task of a function that computes a package from packages.

    Args:
        name: The package that is made; or a function of the call's arguments, for mapped tasks:
            `lambda call: f"sales/{call['region']}"`.
        registry: Where to; None is the default registry.
        install: Parameters that take a package, or a list of them, and get the folder with its
            files.
        browse: Parameters that get it as a `Package`, whose files are read when they are asked for.
        source_registry: Where `ns/name` of these is; None is that of `registry`.
        key: Logical key of what is returned, whose extension says the format; None: `data.` and
            what its type is written as. Not for paths, packages and mappings.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What it was made from, besides the packages that the function took and read.
        column_lineage: What the columns of its table were made from.
        expected: What `latest` must hold; see `build_package`.
        retry_conflicts: How often to bring the changes together with those of somebody who was
            faster.
        **options: Options of a Prefect task. With `retries` the function's own errors are tried
            again too; without, only a storage that does not answer.

    Raises:
        InvalidInputError: The function lacks a parameter, is async, or may not be cached.
    """
    installed, browsed = _names(install), _names(browse)

    def decorate(function: Callable[..., Any]) -> PackageTask[..., Revision]:
        signature = inspect.signature(function)
        _check(function, signature, installed + browsed)
        refuse_caching(function.__name__, options)

        def run(*args: Any, **kwargs: Any) -> Revision:
            begin()
            call = signature.bind(*args, **kwargs)
            call.apply_defaults()
            target = _name_of(name, call.arguments)
            settings = reach(registry, source_registry)
            # Before the function runs, so that who publishes meanwhile is not overwritten unseen.
            publishing = Publishing(
                target,
                url_of(registry),
                settings,
                expected=expected,
                is_sure=retry_conflicts == 0,
            )
            takes = _Takes(settings, source_registry if source_registry is not None else registry)
            with progress_shown():
                for how, parameters in (("install", installed), ("browse", browsed)):
                    for parameter in parameters:
                        call.arguments[parameter] = takes.take(call.arguments.get(parameter), how)
            value = function(*call.args, **call.kwargs)
            with progress_shown():
                result = operations.produce(
                    value,
                    target,
                    key=key,
                    registry=url_of(registry),
                    meta=meta,
                    message=message,
                    inputs=[*takes.results, *_listed(plain(inputs))],
                    column_lineage=column_lineage,
                    expected=expected,
                    held=publishing.held,
                    retry_conflicts=retry_conflicts,
                    run=run_info(),
                    settings=settings,
                )
            is_news = publishing.has_moved(result)
            return pushed("published", result, publishing.undo(result), settings, is_news=is_news)

        body = functools.update_wrapper(run, function)
        own = {
            "task_run_name": _RunName(function.__name__, name),
            "retry_condition_fn": _may_be_tried_again if "retries" in options else is_retryable,
        }
        return PackageTask(fn=body, **options_of(function.__name__) | own | with_our_hooks(options))

    return decorate


@dataclass
class _Takes:
    """The packages that one call takes."""

    settings: Settings
    registry: Where

    def __post_init__(self) -> None:
        self.results: list[StepResult] = []

    def take(self, package: Any, how: Any) -> Any:
        """Return what the function gets for a package; for several a list of it."""
        if package is None:
            return None
        if isinstance(package, list | tuple):
            return [self.take(item, how) for item in package]
        given: PackageLike = plain(package)
        found = operations.take(
            given,
            how,
            registry=url_of(self.registry),
            run=run_info(),
            settings=self.settings,
        )
        self.results.append(found.result)
        assets.read(found.result)
        return found.value


@dataclass(frozen=True)
class _RunName:
    """Names the runs of a task; as a class it can be sent to other processes."""

    verb: str
    name: Name

    def __call__(self, parameters: dict[str, Any]) -> str:
        try:
            return f"{self.verb}-{_name_of(self.name, parameters)}"
        except Exception:  # noqa: BLE001 (the run itself says what is wrong with its name)
            return self.verb


def _name_of(name: Name, arguments: Mapping[str, Any]) -> str:
    return name if isinstance(name, str) else name(arguments)


def _may_be_tried_again(task: Any, run: Any, state: Any) -> bool:
    """Say whether to try again where the user asked for it: not what he has to mend first."""
    return not isinstance(state.data, T4Error) or is_retryable(task, run, state)


def _check(
    function: Callable[..., Any], signature: inspect.Signature, parameters: list[str]
) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidInputError(
            f"{function.__name__} must be a plain function: it is called in a thread, so it holds"
            " nothing up"
        )
    if unknown := sorted(set(parameters) - signature.parameters.keys()):
        raise InvalidInputError(f"{function.__name__} has no parameter {', '.join(unknown)}")


def _names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _listed(inputs: Any) -> list[Any]:
    if inputs is None:
        return []
    return inputs if isinstance(inputs, list) else [inputs]
