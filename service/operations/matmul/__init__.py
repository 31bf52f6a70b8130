"""The matrix product.

`definition` infers shape and dtype of the result, and `strategies` computes.
"""
