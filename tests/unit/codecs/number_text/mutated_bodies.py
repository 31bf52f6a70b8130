"""Valid bodies of requests, and the same with a few random edits."""

from collections.abc import Iterator
from random import Random
from typing import Final

Names = tuple[str, ...] | None

NAMES: Final = ("a", "b", "x")
LIKELY: Final = b'[]{},:.-+eE0123456789" \t\n'
UNLIKELY: Final = b"\x00\x0b\r\\abdtrux/\x7f\x80\xbf\xc3\xe2\xff"
# Each is read by its names, and as one whose operands are in a list.
BODIES: Final = (
    b'{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}',
    b'{"a":[[1.5,-2e3],[0.25,4]],"b":[[0.1,6.0],[7E-2,8]],"dtype":"float64"}',
    b'{"a": [[1, -0.0], [3, 4]], "dtype": "float32", "strategy": "auto", "b": [5.5, 6]}',
    b'{\n "x": {\n  "dtype": "int64",\n  "data": [\n   [1, 2],\n   [3, 4]\n  ]\n },\n "ord": 2\n}',
    b'{"x":[[[1],[2]],[[3],[4]],[[5],[6]]],"axis":[0,1],"keepdim":true}',
    b'{"a":{"data":[0.5,1.25,-3],"dtype":"float64"},"b":{"dtype":"float64","data":[[1],[2]]}}',
    b'{"op":"einsum","equation":"ij,jk->ik","operands":[[[1,2],[3,4]],[[0.5,6],[7,8.25]]]}',
    b'{"operands":[{"data":[[1.5]],"dtype":"float32"},[1,2,3],7,[[4]]],"op":"add","a":[9]}',
    b'{"operands":[[1],[2.5],[3],[4e1]],"output":{"data":"base64","b":[1,2]},"x":-0}',
    b'{"a":[9223372036854775807,-9223372036854775808,0],"b":[9007199254740992,0.5],"x":[-0]}',
    b'{"s":"[1,2]\\"]}{","t":"\\u0061\\\\","a":[1.0,2.0],"u":{"a":[1,[2,{"b":[3]}]]},"b":[[1e5]]}',
    b'{"a":[1.7976931348623157e308,5e-324],"b":[123456789012345678901234.5,0.0001],"n":null}',
    b'{"a":[1.0000000596046448,1e-45,0.5],"b":[1.5e-323,1.00000017881393432617187499999]}',
    b'{"a":1.5,"b":null,"x":[[]],"c":[true,"NaN"]}',
    b'{"a":[0.30000000000000004,3.141592653589793],"b":[[2.718281828459045,1.4142135623730951]]}',
    b'{"x":[' + b",".join(b"%d" % each for each in range(90)) + b'],"a":[[0.5,1.5],[2.5,3.5]]}',
    b'{"a":[' + b",".join(b"%.17g" % (each / 7 - 3) for each in range(40)) + b'],"x":[1]}',
    b'{"b":[' + b",".join(b"[%d.25,-%de-3]" % (each, each) for each in range(40)) + b"]}",
)
# Of arrays that JSON or this reader has otherwise, with what could join with a 0 to a number.
ODD: Final = (
    "[1].5",
    "[1]e5",
    "[1]E+1",
    "[1]0",
    "[1]x0",
    "-[1]",
    "0[1]",
    "[1][2]",
    '"x"[1]',
    '[1]"x"',
    "[1]:[2]",
    "[1]]",
    "[[1]",
    "[1}",
    "{1]",
    "[",
    "]",
    "",
    "[]",
    "[[]]",
    "[[],[]]",
    "[,]",
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[1:2]",
    "[[1]2]",
    "[1[2]]",
    "[[1],2]",
    "[1,[2]]",
    "[[1][2]]",
    "[[1],[2]",
    "[[1],[2]]]",
    "[[1,2],[3]]",
    "[[1],[2,3]]",
    "[[1,2],[3,4],[5]]",
    "[[1,2,3],[4]]",
    "[[[1],[2]],[[3]]]",
    "[[[1]],[[2],[3]]]",
    "[[[1],[2]],[3]]",
    "[[1],[[2]]]",
    "[[[1]],[2]]",
    "[[1,2],3,4]",
    "[1,2,[3,4]]",
    "[[1,2,[3]]]",
    "[[1],[]]",
    "[[],[1]]",
    "[[1],null]",
    "[null]",
    "[true]",
    '["1"]',
    "[{}]",
    '[[1],{"data":[2]}]',
    "[[[1,2],[3,4]],[[5,6],[7,8],[9,10]]]",
    "[[[1,2],[3,4]],[[5,6,7,8]]]",
    "[[[1,2,3,4]],[[5,6],[7,8]]]",
    "[[1,2],[3,4]],[5,6]",
    "[[[1],[2],[3]],[[4],[5],[6]],[[7],[8]]]",
    "[[[1],[2]],[[3],[4]],[[5],[6],[7],[8]]]",
    "[[[[1],[2]],[[3],[4]]],[[[5],[6],[7],[8]]]]",
    "[[[[1]],[[2]]],[[[3],[4]]]]",
    # Ends of arrays in a part of the text that has to have none.
    "[[[1],[2],[3],[4]],[[5],[6]],[[7],[8]]]",
)


def mutated(random: Random, body: bytes) -> bytes:
    """Return a body with one to three edits."""
    text = bytearray(body)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        _edit(random, text)
    return bytes(text)


def _edit(random: Random, text: bytearray) -> None:
    at = random.randrange(len(text) + 1)
    byte = random.choice(LIKELY if random.random() < 0.85 else UNLIKELY)
    match random.randrange(6):
        case 0:
            text[at : at + 1] = (byte,)
        case 1:
            text.insert(at, byte)
        case 2:
            del text[at : at + random.choice((1, 1, 1, 2, 5))]
        case 3:
            text[at : at + 2] = text[at : at + 2][::-1]
        case 4:
            piece = text[at : at + random.choice((1, 2, 3, 6, 12, 40))]
            to = random.choice((at, random.randrange(len(text) + 1)))
            text[to:to] = piece
        case _:  # a digit, which leaves most bodies valid
            digits = [place for place, each in enumerate(text) if chr(each).isdigit()]
            if digits:
                text[random.choice(digits)] = random.choice(b"0123456789.-e ")


def bodies(seed: int, count: int) -> Iterator[tuple[bytes, Names]]:
    """Yield so many mutated bodies, and the names to look for in them."""
    random = Random(f"bodies {seed}")
    for _ in range(count):
        yield mutated(random, random.choice(BODIES)), random.choice((NAMES, None))
