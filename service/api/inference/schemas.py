"""Models of the protocol's documents, for the OpenAPI document and small answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Parameters = dict[str, Any]
NAME = "An operand: `a` and `b`, `x`, or its place in the list, `0`, `1`, ..."


class InferenceError(BaseModel):
    """An error, in words."""

    error: str


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """The service takes calls."""

    ready: bool


class ModelReady(BaseModel):
    """The model takes calls."""

    name: str
    ready: bool


class ServerMetadata(BaseModel):
    """The server, and the extensions of the protocol that it supports."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor of a model in a typical form; other ranks and datatypes are accepted, too."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 stands for any size.")


class ModelMetadata(BaseModel):
    """A model, which is an operation."""

    name: str
    versions: list[str] = Field(description="The strategies.")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str] = Field(description="What a tensor's metadata cannot say.")


class ConfigTensor(BaseModel):
    """A tensor in a model's configuration."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """A model's configuration, in Triton's form."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]


class IndexEntry(BaseModel):
    """A version of a model, in the index of all."""

    name: str
    version: str
    state: str
    reason: str


class DurationStat(BaseModel):
    """Number of calls, and nanoseconds in all."""

    model_config = ConfigDict(from_attributes=True)

    count: int
    ns: int


class InferenceStats(BaseModel):
    """Time of a version, by outcome and phase."""

    success: DurationStat
    fail: DurationStat
    queue: DurationStat
    compute_input: DurationStat = Field(description="Decoding, and the way to the device.")
    compute_infer: DurationStat
    compute_output: DurationStat = Field(description="The way back, and encoding.")
    cache_hit: DurationStat
    cache_miss: DurationStat


class BatchStats(BaseModel):
    """The time of one size of batch; there are none here but 1."""

    batch_size: int
    compute_input: DurationStat
    compute_infer: DurationStat
    compute_output: DurationStat


class ModelStat(BaseModel):
    """The statistics of one version of a model."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0 if there was none.")
    inference_count: int
    execution_count: int
    inference_stats: InferenceStats
    response_stats: dict[str, Any]
    batch_stats: list[BatchStats]
    memory_usage: list[Any]


class ModelStats(BaseModel):
    """Statistics of versions, since this process started."""

    model_stats: list[ModelStat]


class RequestInput(BaseModel):
    """An input: its data are written out here, or follow the JSON as bytes."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description=NAME)
    shape: list[int]
    datatype: str = Field(description="FP32, FP64, FP16, BF16, INT8 to INT64, UINT8 or BOOL.")
    parameters: Parameters | None = Field(None, description="`binary_data_size`, in bytes.")
    data: Any = Field(None, description="A list, flat in row-major order or nested.")


class RequestOutput(BaseModel):
    """The requested output."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="`result`; there is no other.")
    parameters: Parameters | None = Field(None, description="`binary_data`, true or false.")


class InferenceRequest(BaseModel):
    """A call of a model."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, description="Comes back in the answer.")
    model_name: Any = Field(None, description="Not read: the path names the model.")
    model_version: Any = Field(None, description="Not read: the path names the version.")
    parameters: Parameters | None = Field(
        None,
        description=(
            "The fields of the operation's own route, such as `equation`, `ord`, `dim`, `device`; "
            "`timeout` in microseconds; `binary_data_output`."
        ),
    )
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = None


class ResponseOutput(BaseModel):
    """The result; as bytes after the JSON if its parameters have a `binary_data_size`."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = Field(None, description="Flat, in row-major order.")


class InferenceResponse(BaseModel):
    """The answer of a model."""

    model_name: str
    model_version: str = Field(description="The strategy that ran.")
    id: str | None = None
    parameters: Parameters
    outputs: list[ResponseOutput]
