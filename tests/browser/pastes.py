"""Texts as people paste them, each with the tensor that it means or the error that it has."""

from dataclasses import dataclass
from math import inf, nan


@dataclass(frozen=True)
class Paste:
    """A text of `source`: its numbers in `shape`, in row-major order, or a part of the error.

    `said` is a part of what the page says of it, `dtype` what the text states.
    """

    source: str
    text: str
    shape: tuple[int, ...] = ()
    numbers: tuple[complex | bool, ...] = ()
    said: str = ""
    dtype: str | None = None
    error: str = ""


SQUARE = (1.0, 2.0, 3.0, 4.0)

SPREADSHEETS = [
    Paste("tabs", "1\t2\n3\t4\n", (2, 2), SQUARE, "separated by tabs"),
    Paste("CRLF", "1\t2\r\n3\t4\r\n", (2, 2), SQUARE),
    Paste("CR", "1\t2\r3\t4\r", (2, 2), SQUARE),
    Paste("line separator", "1\t2\u20283\t4", (2, 2), SQUARE),
    Paste("byte order mark", "\ufeff1,2\n3,4", (2, 2), SQUARE, "separated by commas"),
    Paste("empty cell", "1\t\t3\n4\t5\t6", (2, 3), (1, nan, 3, 4, 5, 6), "NaN, at [0, 1]"),
    Paste("empty last cell", "1\t2\t\n3\t4\t5", (2, 3), (1, 2, nan, 3, 4, 5)),
    Paste("empty first cell", "\t2\n3\t4", (2, 2), (nan, 2, 3, 4)),
    Paste("empty row", "1\t2\n\t\n3\t4", (3, 2), (1, 2, nan, nan, 3, 4), "2 missing"),
    Paste("decimal comma, tabs", "1,5\t2,5", (2,), (1.5, 2.5), "decimal comma"),
    Paste(
        "decimal comma, semicolons", "1,5;2\n3;-4,25\n", (2, 2), (1.5, 2, 3, -4.25), "semicolons"
    ),
    Paste("decimal comma, quoted", '"1,5";"2,5"\n"3";"4"', (2, 2), (1.5, 2.5, 3, 4)),
    Paste("semicolons", "1;2;3\n4;5;6", (2, 3), (1, 2, 3, 4, 5, 6)),
    Paste("semicolons, empty", "1;;3", (3,), (1, nan, 3)),
    Paste("minus sign", "\u22121\t\u22122.5e\u22123", (2,), (-1, -2.5e-3)),
    Paste("no-break blanks", "1\u00a0\t\u00a02", (2,), (1, 2)),
    Paste("percent", "50%\t12.5%", (2,), (0.5, 0.125), "percentages as hundredths"),
    Paste("error cell", "1\t#N/A\n#DIV/0!\t4", (2, 2), (1, nan, nan, 4), "2 missing"),
    Paste("truth", "TRUE\tFALSE", (2,), (True, False)),
    Paste("sep=", "sep=;\r\n1,5;2\r\n", (2,), (1.5, 2), "decimal comma"),
    Paste("row of names", "height\twidth\n1\t2\n3\t4", (2, 2), SQUARE, "row of names skipped"),
    Paste("cell of two lines", '"a\nb",c\n1,2', (2,), (1, 2), "row of names skipped"),
    Paste(
        "thousands or decimals", "1,234\t5,678", error="'1,234' is ambiguous: write 1.234 or 1234"
    ),
    Paste(
        "thousands", "1,234.5\t2", error="row 0, column 0: '1,234.5' has a separator of thousands"
    ),
    Paste("thousands, blank", "7\t1\u202f234", error="'1\u202f234' has a separator of thousands"),
    Paste("thousands, German", "1.234,5\t2", error="'1.234,5' has a separator of thousands"),
    Paste("thousands, Swiss", "1'234\t2", error="has a separator of thousands"),
    Paste("two decimal marks", "1,5\t2.5", error="'2.5' has a decimal point, and '1,5' a decimal"),
    Paste(
        "decimal comma, blanks", "1,5 2,5", error="row 0, column 1: '5 2' is more than one number"
    ),
    Paste("word", "1\t2\n3\tfour", error="row 1, column 1: 'four' is not a number"),
    Paste("date", "2024-01-31\t1", error="row 0, column 0: '2024-01-31' is not a number"),
    Paste("ragged", "1\t2\n3", error="row 1 has 1 item, row 0 has 2"),
]

PANDAS = [
    Paste("pandas NaN", "1.0,,3.0\n5.0,6.0,7.0", (2, 3), (1, nan, 3, 5, 6, 7), "at [0, 1]"),
    Paste("to_csv", ",a,b\n0,1.0,3\n1,,4\n", (2, 2), (1, 3, nan, 4), "column of names skipped"),
    Paste("to_csv, no names", ",0,1\n0,1.0,2.0\n1,3.0,4.0\n", (2, 2), SQUARE, "skipped"),
    Paste("to_csv(index=False)", "a,b\n1.0,3\n,4\n", (2, 2), (1, 3, nan, 4)),
    Paste("print(frame)", "     a  b\n0  1.0  3\n1  NaN  4", (2, 2), (1, 3, nan, 4)),
    Paste("print(frame), no names", "     0    1\n0  1.0  2.0\n1  3.0  4.0", (2, 2), SQUARE),
    Paste("print(series)", "0    1.0\n1    NaN\nName: a, dtype: float64", (2,), (1, nan), "index"),
    Paste(
        "long frame",
        "     a\n0    1\n..  ..\n9    9\n\n[10 rows x 1 columns]",
        error="is not a num",
    ),
]

NUMPY = [
    Paste("print(array)", "[[1. 2.]\n [3. 4.]]", (2, 2), SQUARE, "separated by blanks"),
    Paste("array", "array([[1., 2.],\n       [3., 4.]])", (2, 2), SQUARE, "array(…)"),
    Paste("array, dtype", "array([1, 2], dtype=int8)", (2,), (1, 2), dtype="int8"),
    Paste("array, other dtype", "array([1, 2], dtype=uint16)", (2,), (1, 2), "uint16 not kept"),
    Paste("array of booleans", "array([[ True, False]])", (1, 2), (True, False)),
    Paste("empty array", "array([], shape=(0, 3), dtype=float64)", (0, 3), dtype="float64"),
    Paste("rank 3", "[[[1 2]\n  [3 4]]\n\n [[5 6]\n  [7 8]]]", (2, 2, 2), (1, 2, 3, 4, 5, 6, 7, 8)),
    Paste("nonfinite", "[1.e-08 1.e+10    nan   -inf]", (4,), (1e-8, 1e10, nan, -inf)),
    Paste("complex", "[1.  +2.j 3.25-1.j]", (2,), (1 + 2j, 3.25 - 1j)),
    Paste("complex list", "[(1+2j), 1j, 3]", (3,), (1 + 2j, 1j, 3)),
    Paste("scalars", "[np.float64(1.5), np.int64(2), np.nan]", (3,), (1.5, 2, nan)),
    Paste(
        "assigned", "a = np.array([[1, 2], [3, 4]], np.float32)", (2, 2), SQUARE, dtype="float32"
    ),
    Paste("long vector", f"[{' '.join(['10'] * 24)}\n 7 8]", (26,), (10,) * 24 + (7, 8)),
    Paste("savetxt", "# x y\n1.0e+00 2.0e+00\n3.0e+00 4.0e+00\n", (2, 2), SQUARE, "a comment"),
    Paste("savetxt, complex", " (1.0e+00+2.0e+00j) (3.0e+00-4.0e+00j)", (2,), (1 + 2j, 3 - 4j)),
    Paste("abridged array", "[[0 1 ... 8 9]]", error="the text is abridged: '...' stands for"),
    Paste("rows in brackets", "[1 2\n 3 4]", error="rows end with ; here"),
]

PYTHON = [
    Paste("list", "[[1, 2], [3, 4]]", (2, 2), SQUARE, "separated by commas"),
    Paste("tuples", "((1, 2.), (3, 4e0),)", (2, 2), SQUARE),
    Paste("JSON", '[1, "NaN", "-Infinity", -0.0]', (4,), (1, nan, -inf, -0.0)),
    Paste("negative zero", "-0 0", (2,), (-0.0, 0.0)),
    Paste("float('nan')", "[float('nan'), -float('inf'), 1_000]", (3,), (nan, -inf, 1000)),
    Paste("None", "[1, None]", error="'None' is not a number; a number that is missing can be NaN"),
    Paste("ragged lists", "[[1, 2], [3]]", error="row 1 has 1 item, row 0 has 2"),
    Paste("no comma", "[1, 2 3]", error="a comma is missing here"),
    Paste("two commas", "[1,, 2]", error="a number is missing before this comma"),
    Paste("not closed", "[[1, 2], [3, 4]", error="1 closing bracket is missing"),
    Paste(
        "tensor",
        "tensor([[1, 2],\n        [3, 4]], device='cuda:0', dtype=torch.int64)",
        (2, 2),
        SQUARE,
        dtype="int64",
    ),
    Paste("tensor with gradient", "tensor([1.5000, 2.], grad_fn=<AddBackward0>)", (2,), (1.5, 2)),
    Paste("scalar tensor", "tensor(5., requires_grad=True)", (), (5,)),
    Paste("complex tensor", "tensor([1.0000+2.j, 3.2500-1.j])", (2,), (1 + 2j, 3.25 - 1j)),
    Paste("empty tensor", "tensor([], size=(0, 3))", (0, 3)),
    Paste("tensor not closed", "tensor([1, 2]", error="tensor( is not closed"),
]

MATLAB = [
    Paste("literal", "A = [1 2; 3 4];", (2, 2), SQUARE, "rows ended by semicolons"),
    Paste("literal with commas", "[1, 2; 3, 4]", (2, 2), SQUARE),
    Paste("literal with lines", "[1 2;\n 3 4]", (2, 2), SQUARE),
    Paste("column", "[1; 2; 3]", (3, 1), (1, 2, 3)),
    Paste("signs", "[1 -2; 3 +4i]", (2, 2), (1, -2, 3, 4j)),
    Paste("rows without brackets", "1 2; 3 4", (2, 2), SQUARE, "rows ended by semicolons"),
    Paste("display", "A =\n\n     1     2\n     3     4\n\n", (2, 2), SQUARE, "by MATLAB"),
    Paste(
        "scaled display",
        "A =\n\n   1.0e+03 *\n\n    0.0010    2.0000\n    0.5000   -1.0000\n",
        (2, 2),
        (1, 2000, 500, -1000),
        "times 1.0e+03",
    ),
    Paste(
        "columns apart",
        "A =\n\n  Columns 1 through 2\n\n   1   2\n   5   6\n\n  Column 3\n\n   3\n   7\n",
        (2, 3),
        (1, 2, 3, 5, 6, 7),
    ),
    Paste(
        "pages",
        "A(:,:,1) =\n\n     1     2\n\n\nA(:,:,2) =\n\n     3     4\n",
        (1, 2, 2),
        (1, 3, 2, 4),
    ),
    Paste(
        "complex display",
        "z =\n\n   1.0000 + 2.0000i   3.0000 - 1.0000i\n",
        (1, 2),
        (1 + 2j, 3 - 1j),
    ),
    Paste("logical display", "b =\n\n  1×2 logical array\n\n   1   0\n", (1, 2), (1, 0)),
    Paste("scalar display", "x =\n\n    5\n", (), (5,)),
    Paste("ragged literal", "[1 2; 3]", error="row 1 has 1 item, row 0 has 2"),
    Paste("mixed literal", "[1, 2 3; 4, 5, 6]", error="a comma is missing here"),
]

R = [
    Paste(
        "matrix", "     [,1] [,2]\n[1,]    1    2\n[2,]    3   NA", (2, 2), (1, 2, 3, nan), "by R"
    ),
    Paste("named columns", "     a b\n[1,] 1 2\n[2,] 3 4", (2, 2), SQUARE),
    Paste("named rows", "  [,1] [,2]\nx    1    2\ny    3    4", (2, 2), SQUARE),
    Paste(
        "columns apart",
        "     [,1] [,2]\n[1,]    1    2\n[2,]    5    6\n     [,3]\n[1,]    3\n[2,]    7",
        (2, 3),
        (1, 2, 3, 5, 6, 7),
    ),
    Paste(
        "pages",
        ", , 1\n\n     [,1]\n[1,]    1\n\n, , 2\n\n     [,1]\n[1,]    2\n",
        (1, 1, 2),
        (1, 2),
    ),
    Paste("vector", "[1]  1.5 -2.0  3.0", (3,), (1.5, -2, 3)),
    Paste("long vector", " [1] 1 2\n [3] 3 4", (4,), SQUARE),
    Paste("data frame", "  a b\n1 1 2\n2 3 4", (2, 2), SQUARE, "column of names skipped"),
    Paste("write.csv", '"","V1","V2"\n"1",1,2\n"2",3,4', (2, 2), SQUARE),
    Paste("c", "x <- c(1, 2.5, -3L, NA)", (4,), (1, 2.5, -3, nan)),
    Paste("columns first", "matrix(1:4, nrow = 2)", (2, 2), (1, 3, 2, 4), "columns first"),
    Paste("rows first", "matrix(c(1, 2, 3, 4), ncol=2, byrow=TRUE)", (2, 2), SQUARE, "rows first"),
    Paste("array", "array(1:8, dim = c(2, 2, 2))", (2, 2, 2), (1, 5, 3, 7, 2, 6, 4, 8)),
    Paste("dput", "structure(c(1, 2, 3, 4), dim = c(2L, 2L))", (2, 2), (1, 3, 2, 4)),
    Paste("not filled", "matrix(1:5, nrow=2, ncol=2)", error="5 numbers do not fill 2×2"),
    Paste("half a column", "matrix(1:5, nrow=2)", error="do not fill whole rows and columns"),
    Paste("a matrix of nothing", "structure()", error="structure() has no numbers"),
    Paste("a shape alone", "structure(.Dim = c(2, 2))", error="structure() has no numbers"),
    Paste("other call", "c(1, rnorm(3))", error="rnorm() is not read"),
]

JULIA = [
    Paste("display", "2×2 Matrix{Float64}:\n 1.0  2.0\n 3.0  4.0", (2, 2), SQUARE, "by Julia"),
    Paste("vector", "3-element Vector{Int64}:\n 1\n -2\n 3", (3,), (1, -2, 3)),
    Paste("literal", "[1.0 2.0; 3.0 4.0]", (2, 2), SQUARE),
    Paste("typed literal", "Float32[1.0, 2.5f0, NaN]", (3,), (1, 2.5, nan)),
    Paste("complex literal", "[1 + 2im, 3 - 4im]", (2,), (1 + 2j, 3 - 4j)),
    Paste(
        "complex",
        "2-element Vector{ComplexF64}:\n 1.0 + 2.0im\n 3.0 - 4.0im",
        (2,),
        (1 + 2j, 3 - 4j),
    ),
    Paste(
        "pages",
        "1×2×2 Array{Int64, 3}:\n[:, :, 1] =\n 1  2\n\n[:, :, 2] =\n 3  4",
        (1, 2, 2),
        (1, 3, 2, 4),
    ),
    Paste("missing", "2-element Vector{Union{Missing, Int64}}:\n 1\n  missing", (2,), (1, nan)),
    Paste("abridged", "9-element Vector{Int64}:\n 1\n ⋮\n 9", error="the text is abridged: '⋮'"),
    Paste("rows missing", "3×1 Matrix{Int64}:\n 1\n 2", error="the heading says 3×1"),
]

PASTES = [*SPREADSHEETS, *PANDAS, *NUMPY, *PYTHON, *MATLAB, *R, *JULIA]
