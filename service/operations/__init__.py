"""The four operations, their strategies, and the registry that holds them."""

from typing import Final

from service.operations.broadcast.strategies import op as broadcast
from service.operations.einsum.strategies import op as einsum
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Registry

REGISTRY: Final = Registry(matmul, einsum, norm, broadcast)
