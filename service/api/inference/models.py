"""Models and versions by name: operations and strategies, with metadata and statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from service.api.inference import schemas
from service.codecs.inference.request import DATATYPES, RESULT, parameter_names
from service.core.call import AUTO, Shape
from service.core.dtypes import describe
from service.errors import did_you_mean, quote
from service.http.errors import NotFoundError
from service.observability.inference_stats import Duration, VersionStatistics
from service.registry import Op, Registry

PLATFORM: Final = "pytorch_eager"
# Of the tensors in a model's metadata, where one has to be named.
DTYPE: Final = torch.float32
NOTHING: Final = Duration()


@dataclass(frozen=True, slots=True)
class Model:
    """An operation, and the versions of it that a path names."""

    op: Op[Any]
    versions: tuple[str, ...]


def model_named(registry: Registry, name: str, version: str | None = None) -> Model:
    """Return a model by name, with all its versions or one; NotFoundError lists those there are."""
    op = registry.get(name)
    if op is None:
        raise NotFoundError(
            f"no model is named {quote(name)}; there are {', '.join(registry)}",
            hint=did_you_mean(name, registry),
        )
    versions = (AUTO, *op.strategies)
    if version is None:
        return Model(op, versions)
    if version not in versions:
        raise NotFoundError(
            f"{op.name} has no version {quote(version)}; there are {', '.join(versions)}",
            hint=did_you_mean(version, versions),
        )
    return Model(op, (version,))


def metadata(model: Model) -> schemas.ModelMetadata:
    """Return the inputs and outputs of a model: names, and typical datatypes and shapes."""
    op = model.op
    dtype = describe(DTYPE).protocol or ""
    inputs, output = _usual(op)
    return schemas.ModelMetadata(
        name=op.name,
        versions=[AUTO, *op.strategies],
        platform=PLATFORM,
        inputs=[
            schemas.TensorMetadata(name=name, datatype=dtype, shape=shape)
            for name, shape in inputs.items()
        ],
        outputs=[schemas.TensorMetadata(name=RESULT, datatype=dtype, shape=output)],
        properties={
            "summary": op.summary,
            "datatypes": ", ".join(DATATYPES),
            "shapes": "any that fit, of other ranks too"
            + ("" if op.operands else "; any number of inputs, named 0, 1, ..."),
            "parameters": ", ".join(parameter_names(op)),
        },
    )


def configuration(model: Model) -> schemas.ModelConfig:
    """Return the configuration of a model in Triton's form. Nothing is batched."""
    dtype = f"TYPE_{describe(DTYPE).protocol}"
    inputs, output = _usual(model.op)
    return schemas.ModelConfig(
        name=model.op.name,
        platform=PLATFORM,
        backend="",
        max_batch_size=0,
        input=[
            schemas.ConfigTensor(name=name, data_type=dtype, dims=shape)
            for name, shape in inputs.items()
        ],
        output=[schemas.ConfigTensor(name=RESULT, data_type=dtype, dims=output)],
    )


def _usual(op: Op[Any]) -> tuple[dict[str, list[int]], list[int]]:
    """Return inputs and output of the operation's first sample: any sizes of those ranks."""
    sample = op.samples[0]
    names = op.operands or [str(index) for index in range(len(sample.shapes))]
    inputs = dict(zip(names, map(_any_sizes, sample.shapes), strict=True))
    return inputs, _any_sizes(op.infer_sample(sample, DTYPE).shape)


def _any_sizes(shape: Shape) -> list[int]:
    return [-1 for _ in shape]


def statistics_of(
    model: Model, versions: Mapping[str, VersionStatistics]
) -> list[schemas.ModelStat]:
    """Return the statistics of each version of a model."""
    return [_statistics(model.op.name, each, versions[each]) for each in model.versions]


def _statistics(name: str, version: str, record: VersionStatistics) -> schemas.ModelStat:
    phases = {
        phase: schemas.DurationStat.model_validate(getattr(record, phase))
        for phase in ("compute_input", "compute_infer", "compute_output")
    }
    others = {
        phase: schemas.DurationStat.model_validate(found)
        for phase, found in (
            ("success", record.success),
            ("fail", record.fail),
            ("queue", record.queue),
            ("cache_hit", NOTHING),
            ("cache_miss", NOTHING),
        )
    }
    count = record.success.count
    return schemas.ModelStat(
        name=name,
        version=version,
        last_inference=record.last_ms,
        inference_count=count,
        execution_count=count,
        inference_stats=schemas.InferenceStats(**others, **phases),
        response_stats={},
        batch_stats=[schemas.BatchStats(batch_size=1, **phases)] if count else [],
        memory_usage=[],
    )
