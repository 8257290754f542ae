"""Daily weather observations to monthly snapshots, and those to a summary: plain functions.

The DAG and the flow of the example do the same job with these, so they arrive at the same bytes and
the same top hash. Nothing here knows packages or orchestrators.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from t4_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("date", "precipitation", "temp_max", "temp_min", "wind")
"""Columns a source must have: a day, millimetres, degrees Celsius twice, metres a second."""
_EXTRA: Final = "pip install 't4-ops[demo]'"


def default_source() -> str:
    """Return the path of Seattle's daily weather from 2012 to 2015.

    Source: `seattle-weather.csv` of the package `vega-datasets`, made from NOAA's public records.

    Raises:
        ImportError: The extra `demo` is missing.
    """
    try:
        from vega_datasets import local_data
    except ImportError as exc:
        raise ImportError(f"the default weather source needs: {_EXTRA}") from exc
    return str(local_data.seattle_weather.filepath)


def write_snapshots(source: str | Path, folder: str | Path) -> str:
    """Write one Parquet file for each month of a CSV file of daily observations.

    Args:
        source: CSV file with the columns `COLUMNS`; further ones are kept.
        folder: Where to; files are called `2012/2012-01.parquet`.

    Returns:
        The folder.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: A column is missing, or a date is none.
    """
    observations = _read(Path(source))
    target = Path(folder)
    for month, rows in observations.groupby(observations["date"].dt.strftime("%Y-%m")):
        path = target / str(month)[:4] / f"{month}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.reset_index(drop=True).to_parquet(path, index=False)
    return str(target)


def _read(source: Path) -> pd.DataFrame:
    import pandas as pd

    if not source.is_file():
        raise NotFoundError(
            f"{source} is no file: give a CSV file of daily weather", key=str(source)
        )
    # Dates as text: numbers such as 20200101 would be read as nanoseconds of 1970.
    observations = pd.read_csv(source, dtype={"date": str})
    missing = [column for column in COLUMNS if column not in observations.columns]
    if missing:
        raise InvalidInputError(
            f"{source} lacks the columns {', '.join(missing)}; needed are {', '.join(COLUMNS)}",
            key=str(source),
        )
    try:
        observations["date"] = pd.to_datetime(observations["date"])
    except ValueError as exc:
        raise InvalidInputError(
            f"{source} has a date that is none: {exc}", key=str(source)
        ) from exc
    if observations["date"].isna().any():
        raise InvalidInputError(f"{source} has rows without a date", key=str(source))
    if observations.empty:
        raise InvalidInputError(f"{source} has no rows", key=str(source))
    return observations.sort_values("date", kind="stable")


def write_summary(snapshots: str | Path, folder: str | Path) -> str:
    """Write a table with one row for each month and a picture of it.

    Args:
        snapshots: Folder that `write_snapshots` filled.
        folder: Where to: `summary.csv` and `summary.png`.

    Returns:
        The folder.

    Raises:
        NotFoundError: There are no snapshots.
        ImportError: The extra `demo` is missing.
    """
    import pandas as pd

    files = sorted(Path(snapshots).rglob("*.parquet"))
    if not files:
        raise NotFoundError(f"{snapshots} holds no snapshots", key=str(snapshots))
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    summary = _summarise(pd.concat([pd.read_parquet(file) for file in files]))
    summary.to_csv(target / "summary.csv", index=False, lineterminator="\n", float_format="%.2f")
    _draw(summary, target / "summary.png")
    return str(target)


def _summarise(observations: pd.DataFrame) -> pd.DataFrame:
    by_month = observations.groupby(observations["date"].dt.strftime("%Y-%m"))
    return by_month.agg(
        days=("date", "count"),
        temp_max_mean=("temp_max", "mean"),
        temp_min_mean=("temp_min", "mean"),
        precipitation_sum=("precipitation", "sum"),
        wind_mean=("wind", "mean"),
    ).reset_index(names="month")


def _draw(summary: pd.DataFrame, path: Path) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ImportError(f"the picture needs: {_EXTRA}") from exc
    # No pyplot: it keeps global state, which threads of task runners would share.
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    rain = figure.add_subplot()
    months = range(len(summary))
    rain.bar(months, summary["precipitation_sum"], color="#9ecae1", label="rain (mm a month)")
    rain.set_ylabel("rain (mm)")
    heat = rain.twinx()
    heat.plot(months, summary["temp_max_mean"], color="#d7301f", label="mean daily high (°C)")
    heat.plot(months, summary["temp_min_mean"], color="#2171b5", label="mean daily low (°C)")
    heat.set_ylabel("°C")
    step = max(1, len(summary) // 8)
    rain.set_xticks(list(months)[::step], list(summary["month"])[::step])
    rain.set_title("Weather by month")
    figure.legend(loc="outside lower center", ncols=3)
    # Without the default metadata the bytes depend on the data alone, not on today's version text.
    figure.savefig(path, metadata={"Software": None})
