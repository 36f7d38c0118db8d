"""The architectures of a space and their costs as a mixed-integer linear program, for `scipy.optimize.milp` (HiGHS).

Variables: x[d, o] = 1 if decision d takes option o (binary); g[v], whether the result of node v is read; y[v, c], whether node v
runs its combination c of options. For a node with decisions sum_c y[v, c] = g[v] and, for each of its decisions, the sum of y over
the combinations with option o is at most x[d, o]: at binary x the chosen combination has y = g, all others 0, products of several
decisions included. g[v] is at least the sum of those y[r, c] under which reader r reads v; outputs have g = 1. All costs are from 0
and every constraint bounds g from below only, so whatever an architecture may cost at most, the least g, which is reachability,
satisfies it if any g does: g and y need not be binary, and the cost at binary x is exactly that of the pruned network.

A sum costs max(0, present terms - 1) additions while it is read. A term that others read as well has variables of its own there.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.files.native_output import without_native_output
from nas.ops import OpSpec, is_free
from nas.space.choice import Choice, NeverAll
from nas.space.graph import Combination, Graph, Node

Terms = dict[int, float]
"""Number of a variable -> its coefficient."""
Share = tuple[Terms, float]
"""A cost as a share of its limit: linear terms and a constant."""
Row = tuple[Terms, float, float]
"""Coefficients, least and largest value of a constraint."""
_PRECISION = 1e3
"""Factor of objectives: HiGHS stops at an absolute gap of 1e-6."""


class ArchitectureProgram:
    """Variables and constraints that all architectures of a graph satisfy; see the module's docstring.

    Args:
        choices: The decisions.
        graph: The open graph, as deployed.
        never_all: What no architecture decides throughout.
    """

    def __init__(self, choices: Sequence[Choice], graph: Graph, never_all: Sequence[NeverAll] = ()) -> None:
        self.choices, self.graph = {choice.name: choice for choice in choices}, graph
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._rows: list[Row] = []
        self.option = {choice.name: [self._variable() for _ in choice.options] for choice in choices}
        self._binary = len(self._upper)
        self._rows += [(dict.fromkeys(variables, 1.0), 1, 1) for variables in self.option.values()]
        for entry in never_all:
            picked = [self._picked(name, entry.option) for name in entry.decisions]
            self._rows.append((dict.fromkeys(picked, 1.0), -np.inf, len(picked) - 1))
        outputs = set(graph.outputs.values())
        self._gate = [self._variable(lower=float(index in outputs)) for index in range(len(graph.nodes))]
        self._runs = [self._combinations(node, gate) for node, gate in zip(graph.nodes, self._gate, strict=True)]
        self._read()
        self._additions = {index: self._count_additions(index, node) for index, node in enumerate(graph.nodes) if _is_sum(node)}

    def cost(self, price: Callable[[OpSpec], float]) -> Terms:
        """The cost of the pruned network, linear in the variables.

        Raises:
            ValueError: If a price is negative or not finite: then the least gates would not be those of the pruned network.
        """
        total: dict[int, float] = defaultdict(float)
        for index, node in enumerate(self.graph.nodes):
            if node.role in ("input", "select"):
                continue
            if index in self._additions:
                for variable, count in self._additions[index].items():
                    total[variable] += count * _checked(price(node.spec), node)
                continue
            for combination, variable in self._runs[index].items():
                spec = node.specs[combination]
                total[variable] += 0.0 if is_free(spec) else _checked(price(spec), node)
        return {variable: amount for variable, amount in total.items() if amount}

    def exclude(self, decided: Mapping[str, str], names: Iterable[str]) -> None:
        """No architecture that decides all of `names` as `decided` does."""
        picked = {self._picked(name, decided[name]): 1.0 for name in names}
        self._rows.append((picked, -np.inf, len(picked) - 1))

    def solve(self, objective: Terms, shares: Sequence[Share]) -> dict[str, str] | None:
        """The architecture of least objective among those whose every share is at most 1; None if there is none."""
        return self._solve(objective, [(terms, -np.inf, 1 - constant) for terms, constant in shares], extra=0)

    def least(self, shares: Sequence[Share]) -> dict[str, str]:
        """The architecture whose largest share is least."""
        worst = len(self._upper)
        rows = [({**terms, worst: -1.0}, -np.inf, -constant) for terms, constant in shares]
        found = self._solve({worst: 1.0}, rows, extra=1)
        if found is None:
            raise ValueError("got no architecture at all, expected a space with a valid one; its never_all exclude everything")
        return found

    def reached(self, decided: Mapping[str, str]) -> list[str]:
        """The decisions that the pruned network depends on, in the order of the choices."""
        nodes, stack, seen = self.graph.nodes, list(self.graph.outputs.values()), set[int]()
        index = {choice.name: choice.options.index(decided[choice.name]) for choice in self.choices.values()}
        while stack:
            number = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            combination = tuple(index[name] for name in nodes[number].decisions)
            stack.extend(s for position, s in enumerate(nodes[number].inputs) if nodes[number].reads(combination, position))
        needed = {name for number in seen for name in nodes[number].decisions}
        return [name for name in self.choices if name in needed]

    def _solve(self, objective: Terms, limits: Sequence[Row], *, extra: int) -> dict[str, str] | None:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        size = len(self._upper) + extra
        rows = [*self._rows, *limits]
        entries = [(i, variable, value) for i, (terms, _, _) in enumerate(rows) for variable, value in terms.items()]
        numbers, columns, values = (np.array(column) for column in zip(*entries, strict=True))
        matrix = coo_array((values, (numbers, columns)), shape=(len(rows), size)).tocsc()
        with without_native_output(1):  # HiGHS prints a line of its own now and then, which says nothing
            found: Any = milp(
                _PRECISION * _dense(objective, size),
                integrality=(np.arange(size) < self._binary).astype(int),
                bounds=Bounds(np.array([*self._lower, *[0.0] * extra]), np.array([*self._upper, *[np.inf] * extra])),
                constraints=LinearConstraint(matrix, [low for _, low, _ in rows], [high for _, _, high in rows]),
                options={"mip_rel_gap": 0},
            )
        if found.status == 2:  # infeasible
            return None
        if found.status != 0:
            raise RuntimeError(f"HiGHS found no optimum: {found.message}")
        return {c.name: c.options[int(np.argmax(found.x[self.option[c.name]]))] for c in self.choices.values()}

    def _variable(self, *, lower: float = 0.0, upper: float = 1.0) -> int:
        self._lower.append(lower)
        self._upper.append(upper)
        return len(self._upper) - 1

    def _picked(self, name: str, option: str) -> int:
        return self.option[name][self.choices[name].options.index(option)]

    def _combinations(self, node: Node, gate: int) -> dict[Combination, int]:
        """A variable for each combination of a node's options that runs while `gate` is open."""
        if not node.decisions:
            return {(): gate}
        runs = {c: self._variable() for c in itertools.product(*(range(len(options)) for options in node.option_names))}
        self._rows.append(({**dict.fromkeys(runs.values(), 1.0), gate: -1.0}, 0, 0))
        for axis, name in enumerate(node.decisions):
            for number, variable in enumerate(self.option[name]):
                terms = {run: 1.0 for c, run in runs.items() if c[axis] == number}
                self._rows.append(({**terms, variable: -1.0}, -np.inf, 0))
        return runs

    def _read(self) -> None:
        """Add the rows by which what is read is alive."""
        for node, runs in zip(self.graph.nodes, self._runs, strict=True):
            for position, source in enumerate(node.inputs):
                terms = {run: 1.0 for c, run in runs.items() if node.reads(c, position)}
                if terms:
                    self._rows.append(({**terms, self._gate[source]: -1.0}, -np.inf, 0))

    def _count_additions(self, index: int, node: Node) -> Terms:
        """Number of additions of a sum."""
        present: Terms = defaultdict(float)
        for source in node.inputs:
            term = self.graph.nodes[source]
            if not term.decisions or all(spec.kind != "none" for spec in term.specs.values()):
                present[self._gate[index]] += float(not term.specs or any(spec.kind != "none" for spec in term.specs.values()))
                continue
            alone = sum(source in other.inputs for other in self.graph.nodes) == 1 and node.inputs.count(source) == 1
            runs = self._runs[source] if alone else self._combinations(term, self._gate[index])
            for combination, run in runs.items():
                present[run] += float(term.specs[combination].kind != "none")
        present[self._gate[index]] -= 1
        if set(present) == {self._gate[index]}:
            return {self._gate[index]: max(0.0, present[self._gate[index]])}
        count = self._variable(upper=len(node.inputs))
        self._rows.append(({**present, count: -1.0}, -np.inf, 0))
        return {count: 1.0}


def _is_sum(node: Node) -> bool:
    return node.role == "op" and node.spec.kind == "add"


def _checked(price: float, node: Node) -> float:
    if not 0 <= price < float("inf"):
        raise ValueError(f"{node.name}: got cost {price}, expected a finite number from 0")
    return price


def _dense(terms: Terms, size: int) -> NDArray[np.float64]:
    row = np.zeros(size)
    for variable, value in terms.items():
        row[variable] = value
    return row
