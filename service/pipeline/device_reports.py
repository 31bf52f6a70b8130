"""Reports of device processes that have started: what a service learns of its GPUs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from service.engine import Engine
from service.executors import ECHO_SIZES
from service.pipeline.messages import DeviceReport
from service.planning.cost_model import Curve


@dataclass
class DeviceReports:
    """The last report of each device; `arrived` is set with each one."""

    engine: Engine
    by_device: dict[str, DeviceReport] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, device: str, text: bytearray, round_trips_ns: Sequence[int]) -> None:
        """Keep the report of a device, and plan by it.

        `round_trips_ns` are those of payloads of ECHO_SIZES bytes, there and back.
        """
        self.by_device[device] = report = DeviceReport(**orjson.loads(text))
        planner = self.engine.planner
        if report.has_tf32:
            planner.devices.with_tf32.add(device)
        self.engine.learn(report.curves)
        hop = Curve(0.0, [2 * size for size in ECHO_SIZES], round_trips_ns)
        planner.cost_model.learn_hop(device, hop)
        self.arrived.set()
