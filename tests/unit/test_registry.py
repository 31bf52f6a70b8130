"""The registry: adding, finding and rejecting strategies."""

import sys
from collections.abc import Mapping

import pytest
import torch

from service.core.call import Spec, Tensor
from service.core.dtypes import FLOATS, INTEGERS
from service.core.requirements import Requirement
from service.core.validators import integer
from service.errors import InvalidFieldError, UnknownStrategyError
from service.registry import Inferred, Op, Param, Registry, Sample, Work, parse_params, source_of

NAMES = ("slow", "fast", "picky")


def infer(specs: tuple[Spec, ...], *, times: int) -> Inferred:
    """As many zeros as the operand has, or an error of the parameter."""
    (spec,) = specs
    return Inferred(specs=specs, shape=spec.shape, dtype=spec.dtype, multiply_adds=times)


def unsupported(inferred: Inferred) -> str | None:
    """Reject vectors."""
    return "does not take vectors" if len(inferred.shape) == 1 else None


def new_op(name: str = "zero", *, auto: tuple[str, ...] = ("fast", "slow")) -> Op[Inferred]:
    """An operation of three strategies."""
    op: Op[Inferred] = Op(
        name=name,
        summary="Zeros.",
        operands=("x",),
        params=(Param("times", "How often.", {}, integer("times", least=1, most=9), default=1),),
        infer=infer,
        check_overflow=lambda inferred, operands: None,
        auto=auto,
        samples=(),
        error_samples=(),
        calibration_samples=(),
    )

    @op.strategy("slow", adapt=call, work=work, dtypes=FLOATS | INTEGERS, cuda=FLOATS)
    def slow(x: Tensor) -> Tensor:
        """Zeros, one by one.

        More about it.
        """
        return x * 0

    @op.strategy("fast", adapt=call, work=work, dtypes=FLOATS, cuda=FLOATS)
    def fast(x: Tensor) -> Tensor:
        """Zeros at once."""
        return torch.zeros_like(x)

    @op.strategy(
        "picky",
        adapt=call,
        work=work,
        dtypes=FLOATS,
        unsupported=unsupported,
    )
    def picky(x: Tensor) -> Tensor:
        """Zeros of matrices."""
        return x - x

    return op


def call(compute: object, inferred: Inferred, operands: object) -> Tensor:
    """The result is the strategy's own."""
    return compute(*operands)  # type: ignore[operator,misc,no-any-return]  # the registry's types


def work(inferred: Inferred) -> Work:
    """A step for each element."""
    return Work(steps=inferred.elements, flops=0)


def inferred_of(*shape: int, dtype: torch.dtype = torch.float32) -> Inferred:
    """Infer the operation for an operand of that shape."""
    return new_op().infer_sample(Sample("", (shape,)), dtype)


def test_strategies_stand_in_order() -> None:
    """Strategies come in the order in which they were written, slowest first."""
    op = new_op()
    assert tuple(op.strategies) == NAMES
    assert [strategy.name for strategy in op.strategies.values()] == list(NAMES)
    assert {strategy.op for strategy in op.strategies.values()} == {"zero"}


def test_strategy_runs() -> None:
    """A strategy computes the operation."""
    x = torch.ones(2, 3)
    for strategy in new_op().strategies.values():
        assert strategy.run(inferred_of(2, 3), [x]).tolist() == [[0.0] * 3] * 2


def test_function_stays_itself() -> None:
    """Registering a strategy leaves its function as it was."""
    op = new_op()

    def same(x: Tensor) -> Tensor:
        """Nothing."""
        return x

    assert op.strategy("same", adapt=call, work=work, dtypes=FLOATS)(same) is same


def test_summary_and_snippet() -> None:
    """Users see the first line of the docstring, and the source without its decorator."""
    slow, _, picky = new_op().strategies.values()
    assert slow.summary == "Zeros, one by one."
    assert slow.snippet.splitlines()[0] == "def slow(x: Tensor) -> Tensor:"
    assert slow.snippet.splitlines()[-1] == "    return x * 0"
    assert picky.snippet == (
        'def picky(x: Tensor) -> Tensor:\n    """Zeros of matrices."""\n    return x - x'
    )


def test_snippet_of_a_kernel() -> None:
    """The source of a kernel stands before that of its strategy; its module is not imported."""
    op = new_op()
    kernel = "service.operations.matmul.cuda_kernel:product"
    op.strategy("kernel", adapt=call, work=work, dtypes=FLOATS, kernel=kernel)(op_free)
    shown = op.strategies["kernel"].snippet
    assert shown.startswith("@cuda.jit\ndef product(a, b, c):\n")
    assert "        c[i, j] = total\n\n\ndef op_free(x: Tensor) -> Tensor:\n" in shown
    assert shown.endswith("    return x * 0")
    assert "service.operations.matmul.cuda_kernel" not in sys.modules


@pytest.mark.parametrize(
    ("kernel", "lack"),
    [
        ("service.no_such_module:product", "is in no file of a module"),
        ("sys:product", "is in no file of a module"),
        ("service.registry:Op", "is no function of its module"),
    ],
)
def test_a_kernel_that_is_not_there(kernel: str, lack: str) -> None:
    """A wrong name of a kernel is an error of the registry."""
    with pytest.raises(ValueError, match=f"'{kernel}' {lack}"):
        source_of(kernel)


@pytest.mark.parametrize("name", ["slow", "auto"])
def test_name_is_taken(name: str) -> None:
    """Two strategies cannot have one name, and none is called `auto`."""
    register = new_op().strategy(name, adapt=call, work=work, dtypes=FLOATS)
    with pytest.raises(ValueError, match=f"zero cannot have another strategy named '{name}'"):
        register(torch.zeros_like)


def test_docstring_is_needed() -> None:
    """A strategy without a docstring, which users see, is refused."""
    register = new_op().strategy("mute", adapt=call, work=work, dtypes=FLOATS)
    with pytest.raises(ValueError, match="strategy zero/mute needs a docstring"):
        register(lambda x: x)


@pytest.mark.parametrize(
    ("asked", "found"),
    [("auto", ["fast", "slow"]), ("slow", ["slow"]), ("picky", ["picky"])],
)
def test_resolve(asked: str, found: list[str]) -> None:
    """`auto` means several strategies, in its own order; a name means one."""
    assert [strategy.name for strategy in new_op().resolve(asked)] == found


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("slov", "did you mean 'slow'?"),
        ("atuo", "did you mean 'auto'?"),
        ("zzz", None),
        ("", None),
    ],
    ids=["near", "near auto", "far", "empty"],
)
def test_unknown_strategy(asked: str, hint: str | None) -> None:
    """An unknown name is refused with the choices in their order, and the nearest."""
    with pytest.raises(
        UnknownStrategyError, match="choose auto or one of slow, fast, picky"
    ) as caught:
        new_op().resolve(asked)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("strategy", "shape", "dtype", "kind", "reason"),
    [
        pytest.param("slow", (2,), torch.int8, "cpu", None, id="taken"),
        pytest.param("slow", (2,), torch.int8, "cuda", "does not take int8 on cuda", id="dtype"),
        pytest.param("fast", (2,), torch.bool, "cpu", "does not take bool on cpu", id="bool"),
        pytest.param("picky", (2, 2), torch.float32, "cuda", "does not run on cuda", id="device"),
        pytest.param("picky", (2,), torch.float32, "cpu", "does not take vectors", id="rank"),
        pytest.param("picky", (2, 2), torch.float32, "cpu", None, id="not declined"),
    ],
)
def test_unsuitable(
    strategy: str, shape: tuple[int, ...], dtype: torch.dtype, kind: str, reason: str | None
) -> None:
    """A strategy says why it does not take a call."""
    inferred = inferred_of(*shape, dtype=dtype)
    assert new_op().strategies[strategy].unsuitable(inferred, kind) == reason


def test_missing_requirement() -> None:
    """A strategy whose second need is absent takes no dtype anywhere, and gives that as reason."""
    op = new_op()
    needs = (Requirement("one", lambda: 1, "add one"), Requirement("two", lambda: None, "add two"))
    reason = "needs two, which is not installed here: add two"
    op.strategy("needy", adapt=call, work=work, dtypes=FLOATS, cuda=FLOATS, needs=needs)(op_free)
    strategy, inferred = op.strategies["needy"], inferred_of(2)
    assert strategy.missing == reason
    for kind in ("cpu", "cuda", "cluster"):
        assert strategy.dtypes_on(kind) == frozenset()
        assert strategy.unsuitable(inferred, kind) == reason


def test_present_requirement() -> None:
    """A strategy whose needs are present takes its dtypes, and is compiled by its own function."""
    op, compiled = new_op(), []

    def compile_for(inferred: Inferred, _: object) -> bool:
        compiled.append(inferred)
        return True

    needs = (Requirement("one", lambda: 1, "add one"),)
    op.strategy(
        "needy",
        adapt=call,
        work=work,
        dtypes=FLOATS,
        needs=needs,
        compile=compile_for,
    )(op_free)
    strategy, inferred = op.strategies["needy"], inferred_of(2)
    assert strategy.missing is None
    assert strategy.dtypes_on("cpu") == FLOATS
    assert strategy.unsuitable(inferred, "cpu") is None
    assert strategy.compile is not None
    assert strategy.compile(inferred, [torch.ones(2)])
    assert compiled == [inferred]
    assert op.strategies["slow"].compile is None


def test_absent_kind_of_device() -> None:
    """A strategy for kinds that this host lacks says what they need, and no other does."""
    op = new_op()
    op.strategy("gpu", adapt=call, work=work, dtypes=frozenset(), cuda=FLOATS)(op_free)
    gpu, slow = op.strategies["gpu"], op.strategies["slow"]
    absent = {"cuda": "needs a GPU", "cluster": "needs a cluster"}
    inferred = inferred_of(2)
    assert gpu.unsuitable(inferred, "cpu", absent) == "needs a GPU"
    assert gpu.unsuitable(inferred, "cpu", {"cluster": "needs one"}) == "does not run on cpu"
    assert slow.unsuitable(inferred, "cluster", absent) == "does not run on cluster"
    assert slow.unsuitable(inferred, "cpu", absent) is None
    assert [each.lacking(absent) for each in (gpu, slow)] == ["needs a GPU", None]
    assert gpu.lacking({"cluster": "needs a cluster"}) is None


def op_free(x: Tensor) -> Tensor:
    """Zeros of no operation in particular."""
    return x * 0


@pytest.mark.parametrize(("raw", "times"), [({}, 1), ({"times": 3}, 3)], ids=["default", "given"])
def test_params(raw: Mapping[str, object], times: int) -> None:
    """A parameter has its default, or what was given, parsed."""
    op = new_op()
    assert parse_params(op.params, raw) == {"times": times}
    assert op.infer_sample(Sample("", ((2,),), raw), torch.float32).multiply_adds == times


def test_wrong_param() -> None:
    """A parameter of the wrong kind is refused by its parser."""
    with pytest.raises(InvalidFieldError, match="times is an integer from 1 to 9"):
        parse_params(new_op().params, {"times": 0})


def test_inferred() -> None:
    """An Inferred counts its elements; blocks of some operations alone are None by default."""
    inferred = inferred_of(2, 3)
    assert inferred.elements == 6
    assert inferred.explanation is None
    assert inferred.path is None
    with pytest.raises(NotImplementedError):
        _ = inferred.reproduce


def test_registry_is_a_mapping() -> None:
    """A registry finds, counts and iterates its operations, in their order."""
    first, second = new_op("first"), new_op("second")
    registry = Registry(first, second)
    assert list(registry) == ["first", "second"]
    assert len(registry) == 2
    assert registry["second"] is second
    assert "third" not in registry


def test_operations_have_names_of_their_own() -> None:
    """Two operations of one name are refused."""
    with pytest.raises(ValueError, match="two operations have the same name"):
        Registry(new_op(), new_op())


def test_auto_names_strategies() -> None:
    """The strategies of `auto` have to exist."""
    with pytest.raises(ValueError, match=r"zero: auto names no strategy \['gone', 'lost'\]"):
        Registry(new_op(auto=("slow", "lost", "gone")))
