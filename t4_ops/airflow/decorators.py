"""`@task.package`: a function that takes packages and returns what becomes the next revision.

    @task.package(name="shop/report", registry="s3://bucket", install=["orders"])
    def report(orders):
        return pandas.read_csv(orders / "orders.csv").describe()

    report("shop/orders")

`orders` is a folder with the files of the newest revision, pinned when the task began; what is
returned is published with its lineage, and the task's result names that revision.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context, XComArg
from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from t4_ops import operations
from t4_ops.airflow._values import count, parsed
from t4_ops.airflow.operators._base import PublishingOperator
from t4_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.airflow.operators._base import ColumnLineageArg, CountArg, InputsArg, TextArg
    from t4_ops.operations import RunInfo, StepResult


class PackageTaskOperator(DecoratedOperator, PublishingOperator):
    """The operator behind `@task.package`.

    Args:
        name: Name of the package that is made, `ns/name`.
        registry: Where to; None or empty text is the registry of the connection.
        install: Names of parameters that take a package, and get the folder with its files.
        browse: Names of parameters that take a package, and get it as a `Package`, whose files are
            read when they are asked for.
        key: Logical key of what is returned, whose extension says the format; None: `data.` and
            what its type is written as. Not for paths, packages and mappings.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What it was made from, besides the packages that the function took and read.
        column_lineage: What the columns of its table were made from, as for a build.
        retry_conflicts: How often to bring the changes together with those of somebody who was
            faster.
        **kwargs: Arguments of `PublishingOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "@task.package"
    template_fields: Sequence[str] = (
        "op_args",
        "op_kwargs",
        "name",
        "registry",
        "key",
        "meta",
        "message",
        "inputs",
        "column_lineage",
        "retry_conflicts",
        "partitions",
        "t4_conn_id",
    )
    template_fields_renderers = {  # noqa: RUF012 (as Airflow's base class has it)
        **PublishingOperator.template_fields_renderers,
        **DecoratedOperator.template_fields_renderers,
    }
    _context: Context | None = None

    def __init__(
        self,
        *,
        name: str | XComArg,
        registry: TextArg = None,
        install: str | Iterable[str] = (),
        browse: str | Iterable[str] = (),
        key: TextArg = None,
        meta: Mapping[str, Any] | TextArg = None,
        message: TextArg = None,
        inputs: InputsArg = None,
        column_lineage: ColumnLineageArg = None,
        retry_conflicts: CountArg = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name: Any = name
        self.registry: Any = registry
        self.install = [install] if isinstance(install, str) else list(install)
        self.browse = [browse] if isinstance(browse, str) else list(browse)
        self.key: Any = key
        self.meta: Any = meta
        self.message: Any = message
        self.inputs: Any = inputs
        self.column_lineage: Any = column_lineage
        self.retry_conflicts: Any = retry_conflicts
        known = inspect.signature(self.python_callable).parameters
        if unknown := sorted({*self.install, *self.browse} - known.keys()):
            raise InvalidInputError(
                f"{self.python_callable.__name__} has no parameter {', '.join(unknown)}"
            )
        self._declare(name, registry)

    def execute(self, context: Context) -> Any:
        """Call the function with its packages, and publish what it returns."""
        self._context = context
        try:
            return super().execute(context)
        finally:
            self._context = None

    def _log_group(self) -> AbstractContextManager[None]:
        # The function's own lines are what its author looks for: not folded away.
        return nullcontext()

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        call = self._call()
        registry = self.registry or None
        # Before the function runs, so that who publishes meanwhile is not overwritten unseen.
        held = operations.held(self.name, registry=registry, settings=settings)
        taken: list[StepResult] = []
        for how, names in (("install", self.install), ("browse", self.browse)):
            for name in names:

                def take(package: Any, how: Any = how) -> Any:
                    found = operations.take(package, how, run=run, settings=settings, stop=stop)
                    taken.append(found.result)
                    return found.value

                call.arguments[name] = _each(call.arguments.get(name), take)
        value = self.python_callable(*call.args, **call.kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        inputs = parsed(self.inputs)
        given = [] if inputs is None else [inputs]
        return operations.produce(
            value,
            self.name,
            key=self.key or None,
            registry=registry,
            meta=parsed(self.meta),
            message=self.message or None,
            inputs=[*taken, *given],
            column_lineage=parsed(self.column_lineage),
            held=held,
            retry_conflicts=count(self.retry_conflicts, "retry_conflicts"),
            run=run,
            settings=settings,
            stop=stop,
        )

    def _call(self) -> inspect.BoundArguments:
        """Return the function's arguments: those given, those of the context, and defaults."""
        signature = inspect.signature(self.python_callable)
        context: Any = self._context or {}
        call = signature.bind_partial(*self.op_args, **self.op_kwargs)
        for name, parameter in signature.parameters.items():
            if name not in call.arguments and name in context:
                call.arguments[name] = context[name]
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                others = {key: context[key] for key in context if key not in call.arguments}
                call.arguments[name] = {**others, **call.arguments.get(name, {})}
        call.apply_defaults()
        return call


def _each(value: Any, take: Callable[[Any], Any]) -> Any:
    """Take one package, or each of several, as mapped tasks give them."""
    if value is None or isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return None if value is None else take(value)
    return [take(item) for item in value]


def package_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Return the decorator that DAGs call as `@task.package(name=..., ...)`.

    Args:
        python_callable: The function.
        **kwargs: Arguments of `PackageTaskOperator`.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=PackageTaskOperator,
        **{"multiple_outputs": True, **kwargs},
    )
