"""Elementwise operations with broadcasting.

`definition` infers shape and dtype of the result, `indexing` applies the `views` parameter, and
`strategies` computes.
"""
