"""Schemas of answers to chains and gradients, for the OpenAPI document and for plans."""

from pydantic import BaseModel, Field

from service.http.schemas import STATED, PlanAnswer, PlannedResult, Precision, Result, Timing


class ChainRow(BaseModel):
    """One step of a chain: what computed it, how long that took, and what came out."""

    name: str
    operation: str
    strategy: str
    shape: list[int]
    dtype: str
    compute_ms: float = Field(description="With checks of the result, synchronised on a GPU.")


class ChainAnswer(BaseModel):
    """Results of a chain by the names of their steps, and how each step was computed."""

    op: str
    results: dict[str, Result]
    steps: list[ChainRow]
    precision: Precision | None = Field(None, description=STATED)
    deterministic: bool | None = Field(None, description=STATED)
    device: str
    warnings: list[str]
    request_id: str
    timing: Timing


class OperandGradient(BaseModel):
    """The gradient of one operand, and the einsum that computed it."""

    equation: str = Field(description="Of the upstream gradient, the other operands and constants.")
    explanation: str
    reproduce: str = Field(description="The gradient as one line of torch.")
    strategy: str
    compute_ms: float
    result: Result


class GradientsAnswer(BaseModel):
    """Gradients of a call by the names of its operands."""

    op: str
    equation: str = Field(description="The call as an einsum.")
    gradients: dict[str, OperandGradient]
    precision: Precision | None = Field(None, description=STATED)
    deterministic: bool | None = Field(None, description=STATED)
    device: str
    warnings: list[str]
    request_id: str
    timing: Timing


class ChainPlanStep(PlanAnswer):
    """Meaning and cost of a step, as of a call whose operands are on the device of the chain."""

    name: str


class ChainWork(BaseModel):
    """Work of a chain."""

    multiply_adds: int
    peak_bytes: int | None = Field(
        description="The most bytes in use at a time; null if the chain would be refused."
    )


class ChainPlanAnswer(BaseModel):
    """Meaning and cost of a chain; nothing was computed."""

    op: str
    accepted: bool
    reason: str | None
    device: str | None = Field(description="Where all steps would run.")
    precision: Precision | None = Field(None, description=STATED)
    deterministic: bool | None = Field(None, description=STATED)
    estimated_ms: float | None = Field(description="Of all steps together, and `transfer_ms`.")
    transfer_ms: float | None = Field(
        description="Of the estimate, the way of the operands to a GPU and of the results back, "
        "once for all steps; 0 on other devices."
    )
    results: dict[str, PlannedResult]
    work: ChainWork
    steps: list[ChainPlanStep]
