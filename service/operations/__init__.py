"""The four operations and their strategies, collected in `REGISTRY` in the order of the lesson.

Each operation is a folder: `definition` has its rules and its `Op`, `strategies` registers the
ways to compute it, slowest first. Importing `REGISTRY` registers all of them.
"""

from typing import Final

from service.operations.broadcast.strategies import op as broadcast
from service.operations.einsum.strategies import op as einsum
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Registry

REGISTRY: Final = Registry(matmul, einsum, norm, broadcast)
