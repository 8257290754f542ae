"""What all the tasks share: a `Task` that keeps its promises whatever options it is given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import TaskOptions
from typing_extensions import Unpack

from t4_ops.errors import InvalidInputError
from t4_ops.prefect._moves import begin, on_commit, on_rollback
from t4_ops.prefect._names import RunNamer
from t4_ops.prefect._runs import is_retryable, retry_delays_s
from t4_ops.prefect.artifacts import progress_shown

_P = ParamSpec("_P")
_R = TypeVar("_R")

_RETRIES: Final = 2
# Where a task keeps an option under another name than its constructor's. Source: the constructor
# of `prefect.tasks.Task`, and `with_options` of its `MaterializingTask`, 3.7.7.
_KEPT_AS: Final = {
    "cache_policy": "_user_cache_policy",
    "on_commit": "on_commit_hooks",
    "on_completion": "on_completion_hooks",
    "on_failure": "on_failure_hooks",
    "on_rollback": "on_rollback_hooks",
    "on_running": "on_running_hooks",
    "persist_result": "_user_persist_result",
}
_HOOKS: Final = {"on_commit": on_commit, "on_rollback": on_rollback}
_CACHING: Final = ("cache_policy", "cache_key_fn", "result_storage_key")


class PackageTask(Task[_P, _R]):
    """A Prefect task around a step with packages.

    Unlike that of a plain `Task`, its `with_options` keeps the hooks of transactions (Prefect 3.7.7
    drops them), so that a renamed push is still undone. Options that would let Prefect skip a step
    which moves a pointer or fills a folder are refused.
    """

    is_pure: bool = False
    """Whether it only computes: a subclass that may be cached says so."""

    def with_options(self, **options: Unpack[TaskOptions]) -> PackageTask[_P, _R]:  # type: ignore[override]
        """Return the same task with other options.

        Raises:
            InvalidInputError: An option would let Prefect skip a step that must not be skipped.
        """
        given = with_our_hooks(dict(**options))
        if not self.is_pure:
            refuse_caching(self.name, given)
        kept = {
            name: _copied(getattr(self, _KEPT_AS.get(name, name)))
            for name in inspect.signature(Task.__init__).parameters
            if name not in ("self", "fn")
        }
        return type(self)(fn=self.fn, **kept | given)


def with_our_hooks(options: dict[str, Any]) -> dict[str, Any]:
    """Return options whose hooks of transactions are the user's besides ours, never instead.

    Args:
        options: What the user gives.
    """
    for option, ours in _HOOKS.items():
        if option in options:
            hooks = [hook for hook in options[option] or () if hook is not ours]
            # Last: then nobody is told if a hook of his fails on commit, which rolls back; and on
            # rollback, where Prefect runs the last one first, his find what was moved moved back.
            options[option] = [*hooks, ours]
    return options


def refuse_caching(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that would let Prefect skip a task.

    Args:
        name: The task's name.
        options: What the user gives.

    Raises:
        InvalidInputError: One of them would.
    """
    for option in _CACHING:
        if options.get(option, NO_CACHE) not in (None, NO_CACHE):
            raise InvalidInputError(
                f"{name} can't be given {option}: it moves a pointer or fills a folder, and a"
                " cached run would do neither. A repeat finds its work done instead"
            )


class PureTask(PackageTask[_P, _R]):
    """A `PackageTask` that only computes, so that it may be cached."""

    is_pure = True


def step(
    verb: str, kind: type[PackageTask[Any, Any]] = PackageTask
) -> Callable[[Callable[_P, _R]], PackageTask[_P, _R]]:
    """Make a task of a step.

    Args:
        verb: What it does, for the names of its runs.
        kind: The class of the task.
    """

    def decorate(function: Callable[_P, _R]) -> PackageTask[_P, _R]:
        @functools.wraps(function)
        def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            begin()
            with progress_shown():
                return function(*args, **kwargs)

        return kind(**options_of(verb), fn=body)

    return decorate


def options_of(verb: str) -> dict[str, Any]:
    """Return the options of a task around a step."""
    return {
        "task_run_name": RunNamer(verb),
        "retries": _RETRIES,
        "retry_delay_seconds": retry_delays_s,
        "retry_condition_fn": is_retryable,
        "persist_result": False,
        # Named too, so that a user who persists results does not get them cached with it.
        "cache_policy": NO_CACHE,
        "on_commit": [on_commit],
        "on_rollback": [on_rollback],
    }


def _copied(value: Any) -> Any:
    """Return an option; a list anew, so that a hook added to one task is added to no other."""
    return list(value) if isinstance(value, list) else value
