"""A REST service for tensor operations: what they do, how they are computed, what they cost."""
