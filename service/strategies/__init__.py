"""The strategies of the four operations, and the registry that holds them all."""

from typing import Final

from service.registry import Registry
from service.strategies.broadcast import op as broadcast
from service.strategies.einsum import op as einsum
from service.strategies.matmul import op as matmul
from service.strategies.norm import op as norm

REGISTRY: Final = Registry(matmul, einsum, norm, broadcast)
