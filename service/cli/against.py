"""Kept reports: files of `--json` or of the page, which a new race is laid beside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from service.cli.arguments import read_file
from service.compare import Report, Row
from service.compare.fields import call_fields
from service.compare.report import Host, RowKey
from service.core.arithmetic import IEEE
from service.core.call import Call
from service.core.dtypes import describe
from service.core.units import shape_text
from service.errors import InvalidFieldError, quote
from service.http.schemas import CompareAnswer, CompareRow
from service.registry import Op

NS_PER_MS: Final = 1e6
REMEDY: Final = "`compare ... --json > report.json` writes one; the page has a button for it"


@dataclass(frozen=True, slots=True)
class KeptReport:
    """The report of an earlier race: of another host, or of another version of the service."""

    name: str
    answer: CompareAnswer
    rows: dict[RowKey, CompareRow] = field(default_factory=dict)

    @property
    def host(self) -> Host:
        """Return the host of that race; older reports have no peaks."""
        host = self.answer.host
        return Host(host.cpu, host.threads, tuple(host.devices), host.versions)

    def peak_share(self, row: Row) -> float | None:
        """Return the share of the peak that the row had then."""
        found = self.rows.get(row.key)
        return None if found is None else found.peak_share

    def median_ns(self, row: Row) -> float | None:
        """Return the median that the row had then; None if it did not run."""
        found = self.rows.get(row.key)
        return None if found is None or found.median_ms is None else found.median_ms * NS_PER_MS

    def comparable(self, report: Report) -> tuple[Row, ...]:
        """Return the rows of a race on this host, or that ran in this kept report."""
        return tuple(
            row for row in report.rows if row.is_available or self.median_ns(row) is not None
        )

    def ratio(self, row: Row) -> float | None:
        """Return how many times as fast as then the strategy of a row is now, by medians."""
        median_ns = self.median_ns(row)
        return None if median_ns is None or not row.times_ns else median_ns / row.median_ns

    def check(self, op: Op[Any], call: Call) -> None:
        """Raise InvalidFieldError unless it is a report of the same call."""
        specs, answer = call.specs, self.answer
        dtype = describe(specs[0].dtype).name
        asked = (op.name, [list(spec.shape) for spec in specs], dtype)
        found = (answer.op, answer.shapes, answer.dtype)
        if found != asked:
            shapes = " ".join("x".join(map(str, shape)) or "()" for shape in answer.shapes)
            raise InvalidFieldError(
                f"{quote(self.name)} is a report of {_call(*found)}; this race is of "
                f"{_call(*asked)}, and their times do not compare",
                hint=f"its call: {answer.op} --shapes {shapes} --dtype {answer.dtype}",
            )
        params = call_fields(op, call.params)
        if "params" in answer.model_fields_set and answer.params != params:
            raise InvalidFieldError(
                f"{quote(self.name)} is a report of {_fields(answer.params)}; this race has "
                f"{_fields(params)}, and their times do not compare",
                hint="the fields of the operation have to be the same",
            )
        # Reports of older versions have no fields.
        multiply_adds = op.infer(specs, **call.params).multiply_adds
        if answer.multiply_adds != multiply_adds:
            raise InvalidFieldError(
                f"{quote(self.name)} is a report of {answer.multiply_adds} multiply-adds; this "
                f"race has {multiply_adds}",
                hint="the fields of the operation, such as the equation, have to be the same",
            )


def read_report(text: str) -> KeptReport:
    """Return the report in a file; raise InvalidFieldError if there is none.

    Fields that it lacks or has beyond those of this version are no errors.
    """
    path = Path(text)
    try:
        kept = _kept(path, CompareAnswer.model_validate_json(read_file(path, hint=REMEDY)))
    except ValueError as error:
        raise InvalidFieldError(f"{quote(text)} is no report of a race", hint=REMEDY) from error
    if not kept.rows:
        raise InvalidFieldError(f"no strategy ran in the report {quote(text)}", hint=REMEDY)
    return kept


def read_sweep(text: str) -> dict[int, KeptReport]:
    """Return the reports of the sweep in a file, by size, without those in which nothing ran."""
    path = Path(text)
    try:
        reports = {
            int(point["size"]): _kept(path, CompareAnswer.model_validate(point["report"]))
            for point in orjson.loads(read_file(path, hint=REMEDY))["points"]
        }
    except (ValueError, TypeError, KeyError) as error:
        hint = "`compare ... --sweep 2:64 --json > sweep.json` writes one"
        raise InvalidFieldError(f"{quote(text)} is no sweep", hint=hint) from error
    return {size: kept for size, kept in reports.items() if kept.rows}


def _kept(path: Path, answer: CompareAnswer) -> KeptReport:
    answer = CompareAnswer.model_validate(_printable(answer.model_dump(exclude_unset=True)))
    ran = [row for row in answer.rows if row.median_ms is not None and 0 < row.median_ms < 1e15]
    return KeptReport(path.name, answer, {_key(row): row for row in ran})


def _key(row: CompareRow) -> RowKey:
    """Return the key of a row; without a statement, as in older reports, it is the default one."""
    return row.strategy, row.device, row.precision or IEEE, bool(row.deterministic)


def _call(op: str, shapes: list[list[int]], dtype: str) -> str:
    texts = " and ".join(shape_text(tuple(shape)) for shape in shapes)
    return f"{quote(op)} of {texts} in {quote(dtype)}"


def _fields(params: Mapping[str, Any]) -> str:
    texts = [f"{name} {orjson.dumps(value).decode()}" for name, value in params.items()]
    return ", ".join(texts) or "no fields"


def _printable(found: Any) -> Any:
    """Return a document whose texts have no characters that would control a terminal."""
    match found:
        case str():
            return "".join(each if each.isprintable() else "?" for each in found)
        case list():
            return [_printable(each) for each in found]
        case dict():
            return {_printable(key): _printable(value) for key, value in found.items()}
        case _:
            return found
