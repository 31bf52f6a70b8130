"""Einstein summation.

`definition` infers shape, dtype and contraction path of the result, and `strategies` computes.
The grammar of equations is in `service.operations.equation`.
"""
