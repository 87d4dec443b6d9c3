"""What shares cost at least, told from the whole of their stage: soon, and for sure."""

from __future__ import annotations

from collections.abc import Sequence

from fita.tinyml.operator import Conv2D, FullyConnected, OperatorClass
from fita.tinyml.plan.cost import Setting, delivery_ns
from fita.tinyml.plan.demand.coverage import Coverage
from fita.tinyml.plan.search.candidate import Group, Price
from fita.tinyml.split.box import elements
from fita.tinyml.split.stage import Stage


class Bounds:
    """Lower bounds of prices in one setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._end = len(setting.graph.operators)
        self._coverage = Coverage(setting.graph)

    def of_shares(self, stage: Stage, team: Sequence[Group]) -> Price:
        """What the whole has to do and to receive is done and received together, at least once."""
        link, count, device = self.setting.link, len(team), team[0].device
        (whole,) = self.setting.table.demands(Stage(first=stage.first, last=stage.last))
        compute = energy = air_bytes = result_bytes = 0
        if self._coverage.is_full(stage.first, stage.last, stage.kind, whole.gap):
            # The whole may have to copy slices where its shares have not.
            units = dict(whole.units)
            units.pop(OperatorClass.MOVE, None)
            compute, energy = device.compute_ns(units, 0) // count, device.energy_nj(units)
            air_bytes = 0 if any(group.holds_input for group in team) else whole.input_bytes
        if not any(group.wants_result for group in team):
            result_bytes = whole.result_bytes
        latency = compute
        # Many messages round otherwise than one.
        arriving = max(0, link.air_ns(air_bytes, orders=1) - count)
        if self._coverage.reads_always(stage.first, stage.last):
            # All but the one where the input is born wait for a message.
            air = arriving if link.shared else link.air_ns(air_bytes // count, orders=1)
            alone = any(group.holds_input for group in team)
            latency = max(compute, link.latency_ns) if alone else link.latency_ns + max(compute, air)
        if result_bytes or (stage.last == self._end and whole.result_bytes):
            latency += delivery_ns(link, max(1, result_bytes))
        air_ns = (arriving if link.shared else 0) + link.air_ns(result_bytes)
        air_bytes += result_bytes
        return Price(latency, compute, energy + round(link.nj_per_byte * air_bytes), air_bytes, air_ns)

    def of_sum(
        self, stage: Stage, after: Stage, team: Sequence[Group], operator: Conv2D | FullyConnected
    ) -> Price:
        """Without what follows the sum."""
        link, count, device = self.setting.link, len(team), team[0].device
        least = operator.macs * (operator.weights.shape[-1] // count) // operator.weights.shape[-1]
        compute = device.compute_ns({operator.operator_class: least}, 1)
        sums = 4 * self._summed_elements(operator, after) * count
        taken = 0 if any(group.holds_input for group in team) else self._read_bytes(stage)
        latency = compute + delivery_ns(link, taken if link.shared else 0)
        latency += delivery_ns(link, sums if link.shared else sums // count)
        energy = device.energy_nj({operator.operator_class: least}) * count
        air = max(0, link.air_ns(taken + sums) - 2 * count) if link.shared else 0
        return Price(latency, compute, energy + round(link.nj_per_byte * (taken + sums)), taken + sums, air)

    def _summed_elements(self, operator: Conv2D | FullyConnected, after: Stage) -> int:
        """How many of the operator's outputs are formed at least."""
        graph, tensor = self.setting.graph, operator.output
        if tensor in graph.outputs or graph.consumers.get(tensor, (0,))[-1] >= after.last:
            return tensor.elements
        (demand,) = self.setting.table.demands(after)
        return max((elements(box) for read, box in demand.inputs if read is tensor), default=0)

    def _read_bytes(self, stage: Stage) -> int:
        """What the stage's operator reads as a whole."""
        (demand,) = self.setting.table.demands(Stage(first=stage.first, last=stage.last))
        return demand.input_bytes
