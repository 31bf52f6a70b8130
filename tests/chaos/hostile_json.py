"""Bodies that are no JSON, or JSON that is meant to hurt."""

from collections.abc import Mapping
from typing import Final

from tests.chaos.hostile_request import Coded, Hostile, posts

MALFORMED: Final[Coded] = {
    "malformed-json": (
        "", " ", "\n", "{", "}", "[", "]", '"', ":", ",", "-", '{"x"', '{"x":', '{"x":}', '{"x":1',
        '{"x":1,}', '{"x":[1,]}', '{"x":[,1]}', '{"x":[1,,2]}', '{"x":[1 2]}', '{"x":[1,2}',
        '{"x":[1]]}', "{'x':1}", "{x:1}", '{"x" 1}', '{"x":1 "ord":2}', '{"x":1}}',
        '{"x":1}{"x":1}', '{"x":1} x', '{"x":01}', '{"x":-01}', '{"x":+1}', '{"x":.5}', '{"x":1.}',
        '{"x":1e}', '{"x":1e+}', '{"x":-}', '{"x":--1}', '{"x":0x10}', '{"x":1_000}', '{"x":1,000}',
        '{"x":1e1.5}', '{"x":1f}', '{"x":NaN}', '{"x":[NaN]}', '{"x":Infinity}',
        '{"x":[-Infinity]}', '{"x":nan}', '{"x":inf}', '{"x":tru}', '{"x":True}', '{"x":None}',
        '{"x":undefined}', '{"x":nul}', '// c\n{"x":1}', '{"x":1/*c*/}', '{"x":1}#', '{"x":"a\nb"}',
        '{"x":"\t"}', '{"x":"\\x41"}', '{"x":"\\u12"}', '{"x":"\\u12G4"}', '{"x":"\\ud800"}',
        '{"x":"abc',
        '{"x":"abc\\', '{"x":"abc\\"}', '{"x":1}\x00', '\x00{"x":1}', '{"x":\x001}', '{"x\x00":1}',
        '{"x":1}\x1a', '{"x":[1\x0b,2]}', '{"x":[1\u00a0,2]}', '{"x":[1\u2028,2]}', '\ufeff{"x":1}',
        b'{\x00"\x00x\x00"\x00:\x001\x00}\x00', b"\x00\x00\x00{", '{"x":[' + "1," * 50_000,
        "{" * 63, '{"x":' + "-" * 100_000 + "}",
    ),
    "invalid-utf8": (
        b'\xff\xfe{\x00"\x00x\x00"\x00:\x001\x00}\x00', b"\x1f\x8b\x08\x00", b"\x93NUMPY",
    ),
}  # fmt: skip
BAD_UTF8: Final[tuple[bytes, ...]] = (
    b'{"x":"\xff"}', b'{"x":"\x80"}', b'{"x":"\xc0\x80"}', b'{"x":"\xc1\xbf"}', b'{"\xe9":1}',
    b'{"x":"\xe2\x82"}', b'{"x":"\xed\xa0\x80"}', b'{"x":"\xed\xbf\xbf"}',
    b'{"x":"\xf4\x90\x80\x80"}', b'{"x":"\xf8\x88\x80\x80\x80"}', b'{"x":"\xe0\x80\xaf"}',
    b'{"x":"\xf0\x80\x80\xaf"}',
)  # fmt: skip
DUPLICATES: Final[tuple[str, ...]] = (
    '{"x":1,"x":1}', '{"x":1,"x":2,"x":3}', '{"x":1,"ord":1,"ord":2}', r'{"x":1,"\u0078":2}',
    r'{"\u0078":1,"\u0078":1}', '{"x":{"shape":[1],"shape":[1],"data":[1]}}',
    r'{"x":{"shape":[1],"data":[1],"\u0064ata":[2]}}', '{"x":1,"dtype":"float32","dtype":"int8"}',
    '{"x":{"shape":[1],"dtype":"int8","dtype":"bool","data":[1]}}', '{"nope":1,"nope":2,"x":1}',
    '{"":1,"":2}', "{" + ",".join([f'"{"k" * 100_000}":1'] * 2) + "}",
    '{"x":[{"a":1,"a":2}]}',
)  # fmt: skip
TOO_DEEP: Final[tuple[str, ...]] = (
    *(
        '{"x":' + "[" * depth + "1" + "]" * depth + "}"
        for depth in (65, 100, 1_000, 10_000, 500_000)
    ),
    *('{"x":' * depth + "1" + "}" * depth for depth in (65, 1_000, 100_000)),
    *('{"ord":' + "[" * depth + "1" + "]" * depth + ',"x":1}' for depth in (65, 100_000)),
    '{"x":' + '[{"shape":' * 40 + "1" + "}]" * 40 + "}",
)  # fmt: skip
TOO_MANY_AXES: Final = tuple(
    '{"x":' + "[" * rank + "1" + "]" * rank + "}" for rank in (17, 20, 40, 63)
)
NO_OBJECT: Final = ("null", "true", "1", '"x"', "[]", "[[1]]", "1e999", '[{"x":1}]')
NO_NUMBERS: Final[Coded] = {
    "invalid-element": (
        None, [None], [1, None], True, [True], "x", ["1"], ["nan"], ["inf"], ["+Infinity"],
        ["NaN "], [""], [{"shape": [1], "data": [1]}],
    ),
    "ragged-array": (
        [[1, 2], [3]], [[1], 2], [1, [2]], [[], [1]], [[[1]], [[1], [2]]], [[1, 2], {}],
        [[1], "ab"], [[1] * 1_000] * 999 + [[1] * 999], [1] * 9_999 + [[1]],
    ),
    "unknown-field": (
        {"real": 1},
    ),
}  # fmt: skip

# dtype, and a number as text: the last ones that fit, and those after them.
HELD: Final = (
    ("float64", "1.7976931348623157e308"), ("float64", "5e-324"), ("float64", "1e-400"),
    ("float64", "1e-999999999999"), ("float64", "-0.0"), ("float64", "0e999999999999"),
    ("float64", "0." + "0" * 20_000 + "1"), ("float64", "0." + "1" * 20_000),
    ("float32", "3.4028234e38"), ("float32", "1e-46"), ("float16", "65504"),
    ("float16", "65519"), ("bfloat16", "3.38e38"), ("int8", "127"), ("int8", "-128"),
    ("uint8", "255"), ("int32", "2147483647"), ("int64", "9223372036854775807"),
    ("int64", "-9223372036854775808"), ("int64", "true"),
)  # fmt: skip
NOT_HELD: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "value-out-of-range": (
        ("float64", "1.7976931348623159e308"), ("float64", "1e309"), ("float64", "-1e400"),
        ("float64", "1e999999999999"), ("float64", "1" + "0" * 400), ("float64", "1" * 20_000),
        ("float64", "-" + "9" * 309), ("float32", "3.5e38"), ("float32", "-3.5e38"),
        ("float32", "9" * 5_000), ("float16", "65520"), ("float16", "-65520"),
        ("bfloat16", "3.4e38"), ("int8", "128"), ("int8", "-129"), ("uint8", "256"),
        ("uint8", "-1"), ("int16", "32768"), ("int16", "-32769"), ("int32", "2147483648"),
        ("int32", "-2147483649"), ("int64", "9223372036854775808"),
        ("int64", "-9223372036854775809"), ("int64", "18446744073709551616"), ("int64", "1e19"),
        ("int64", "0.5"), ("int64", "1e-1"), ("int64", "9" * 5_000),
        ("int64", '"9223372036854775808"'), ("int64", '"' + "9" * 5_000 + '"'),
        ("complex64", "[1e39,0]"),
    ),
    "invalid-element": (
        ("int64", '"NaN"'), ("int64", '"1_000"'), ("int64", '" 1"'), ("int64", '"\uff11"'),
        ("int64", '"0x10"'), ("int64", '""'), ("int64", '"-"'), ("int64", '"1.0"'),
        ("bool", "1"), ("bool", '"true"'), ("complex64", "[1]"),
        ("complex64", "[1,2,3]"), ("complex128", "1"),
    ),
    "ragged-array": (
        ("complex64", "[[1,2],[3]]"),
    ),
}  # fmt: skip


def identity(dtype: str, number: str) -> str:
    """A body that gives the number back as it is."""
    return f'{{"dtype":"{dtype}","to":[1],"operands":[[{number}]]}}'


def as_operand(values: Coded) -> Coded:
    """Bodies of /norm with these as their operand."""
    return {code: tuple({"x": each} for each in group) for code, group in values.items()}


JSON_RECORDS: Final[tuple[Hostile, ...]] = (
    *posts("malformed JSON", "/norm", MALFORMED, 400),
    *posts("bad UTF-8", "/norm", {"invalid-utf8": BAD_UTF8}, 400),
    *posts("duplicate keys", "/norm", {"duplicate-key": DUPLICATES}, 400),
    *posts("nesting", "/norm", {"nesting-too-deep": TOO_DEEP}, 400),
    *posts("nesting", "/norm", {"limit-exceeded": TOO_MANY_AXES}, 422),
    *posts("no object", "/norm", {"invalid-field": NO_OBJECT}, 422),
    *posts("no numbers", "/norm", as_operand(NO_NUMBERS), 422),
    *posts("numbers", "/broadcast", {"": tuple(identity(*each) for each in HELD)}, 200),
    *posts(
        "numbers",
        "/broadcast",
        {code: tuple(identity(*each) for each in group) for code, group in NOT_HELD.items()},
        422,
    ),
)
