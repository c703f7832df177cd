"""Linear programs that are solved many times over with small changes."""

from __future__ import annotations

import math

import highspy
import numpy as np
from numpy.typing import NDArray

__all__ = ["RESOLUTION", "LinearProgram"]

Array = NDArray[np.float64]

# How far a solution may break an inequality. A linear program cannot tell apart what differs by less.
RESOLUTION = 1e-9


class _Solver(highspy.Highs):
    """HiGHS without callbacks: setting them up prints a line to standard output."""

    def enableCallbacks(self) -> None:
        self.setOptionValue("output_flag", False)


class LinearProgram:
    """Maximize a linear function of v subject to ``rows @ v <= upper``; v may be negative.

    HiGHS is called directly, because it goes on from its last solution. Finding the facets of one region takes a
    program for each inequality; measured on one core, milliseconds for one more program of the same rows:

    ===================  ========  ================  ==============  =====================
    rows and variables   cvxpy     cvxpy, compiled   scipy linprog   HiGHS, from the last
    ===================  ========  ================  ==============  =====================
    20, 2                3.9       1.1               1.2             0.05
    200, 6               4.7       1.4               1.8             0.08
    384, 128             125       33                58              1.1
    ===================  ========  ================  ==============  =====================

    Args:
        rows: ``(m, n)``, finite.
        upper: ``(m,)``, may be infinite.
        interior: whether to use an interior-point method: faster for one large program (four times at 2000 rows and
            800 variables), but it starts anew each time.
    """

    def __init__(self, rows: Array, upper: Array, interior: bool = False) -> None:
        count, variables = rows.shape
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = variables, count
        program.col_cost_ = np.zeros(variables)
        program.col_lower_, program.col_upper_ = np.full(variables, -math.inf), np.full(variables, math.inf)
        program.row_lower_, program.row_upper_ = np.full(count, -math.inf), np.asarray(upper, dtype=np.float64)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        row, column = np.nonzero(rows)
        program.a_matrix_.start_ = np.searchsorted(row, np.arange(count + 1)).astype(np.int32)
        program.a_matrix_.index_ = column.astype(np.int32)
        program.a_matrix_.value_ = rows[row, column]
        self._solver = _Solver()  # type: ignore[no-untyped-call]
        for option, value in (
            ("output_flag", False),
            ("solver", "ipm" if interior else "choose"),
            ("primal_feasibility_tolerance", RESOLUTION / 10),
            ("dual_feasibility_tolerance", RESOLUTION / 10),
        ):
            self._solver.setOptionValue(option, value)
        self._solver.passModel(program)
        self._solver.changeObjectiveSense(highspy.ObjSense.kMaximize)
        self._columns = np.arange(variables, dtype=np.int32)

    def bound(self, row: int, upper: float) -> None:
        """Change the right-hand side of a row; inf leaves the row out."""
        self._solver.changeRowBounds(row, -math.inf, upper)

    def maximize(self, objective: Array) -> tuple[float, Array]:
        """The largest value, and a v that attains it.

        Returns:
            The value is inf where there is no largest, and -inf where no v satisfies all rows; v then is NaN.

        Raises:
            RuntimeError: HiGHS gave up.
        """
        self._solver.changeColsCost(len(objective), self._columns, np.asarray(objective, dtype=np.float64))
        self._solver.run()
        status = self._solver.getModelStatus()
        if status == highspy.HighsModelStatus.kUnboundedOrInfeasible:
            self._solver.setOptionValue("presolve", "off")
            self._solver.run()
            self._solver.setOptionValue("presolve", "choose")
            status = self._solver.getModelStatus()
        if status == highspy.HighsModelStatus.kOptimal:
            return self._solver.getInfo().objective_function_value, np.array(self._solver.getSolution().col_value)
        if status == highspy.HighsModelStatus.kUnbounded:
            return math.inf, np.full(len(objective), math.nan)
        if status == highspy.HighsModelStatus.kInfeasible:
            return -math.inf, np.full(len(objective), math.nan)
        raise RuntimeError(f"HiGHS could not solve a linear program: {self._solver.modelStatusToString(status)}.")
