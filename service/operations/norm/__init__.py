"""Vector and matrix norms.

`definition` infers shape and dtype of the result, and `strategies` computes.
"""
