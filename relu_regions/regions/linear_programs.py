"""Linear programs that are solved many times over with small changes."""

from __future__ import annotations

import math

import highspy
import numpy as np

from relu_regions.network.arrays import Floats

__all__ = ["RESOLUTION", "TOO_ILL_SHAPED", "LinearProgram"]


# How far a solution may break an inequality. A linear program cannot tell apart what differs by less.
RESOLUTION = 1e-9
# How far the value of a solution may be from what its dual proves.
_GAP = 1e-6


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

    Each row, and the objective, is divided by the power of two next to its largest coefficient, which rounds nothing.
    The optimum that HiGHS finds is compared with its dual, in plain float64: no point can attain more than that.

    Args:
        rows: ``(m, n)``, finite.
        upper: ``(m,)``, may be infinite.
        interior: whether to use an interior-point method: faster for one large program (four times at 2000 rows and
            800 variables), but it starts anew each time.
        reach: bounds every variable, from both sides.

    Attributes:
        dual: of the last optimum, ``(m,)``: what the value would gain by a unit more of each row's right-hand side.
    """

    def __init__(self, rows: Floats, upper: Floats, interior: bool = False, reach: float = math.inf) -> None:
        count, variables = rows.shape
        if not np.isfinite(rows).all() or np.isnan(upper).any():
            raise ValueError(
                "The inequalities of the region are not finite in float64; scale the model's weights down."
            )
        self._factors = _powers_of_two(rows)
        self._rows, self._reach = rows * self._factors[:, None], reach
        self._upper = np.asarray(upper, dtype=np.float64) * self._factors
        self.dual = np.zeros(count)
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = variables, count
        program.col_cost_ = np.zeros(variables)
        program.col_lower_, program.col_upper_ = np.full(variables, -reach), np.full(variables, reach)
        program.row_lower_, program.row_upper_ = np.full(count, -math.inf), self._upper
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        row, column = np.nonzero(self._rows)
        program.a_matrix_.start_ = np.searchsorted(row, np.arange(count + 1)).astype(np.int32)
        program.a_matrix_.index_ = column.astype(np.int32)
        program.a_matrix_.value_ = self._rows[row, column]
        self._solver = _Solver()  # type: ignore[no-untyped-call]
        for option, value in (
            ("output_flag", False),
            ("solver", "ipm" if interior else "choose"),
            ("primal_feasibility_tolerance", RESOLUTION / 10),
            ("dual_feasibility_tolerance", RESOLUTION / 10),
            ("small_matrix_value", 1e-12),
        ):
            self._solver.setOptionValue(option, value)
        if self._solver.passModel(program) == highspy.HighsStatus.kError:
            raise ValueError(TOO_ILL_SHAPED)
        self._solver.changeObjectiveSense(highspy.ObjSense.kMaximize)
        self._columns = np.arange(variables, dtype=np.int32)

    def bound(self, row: int, upper: float) -> None:
        """Change the right-hand side of a row; inf leaves the row out."""
        self._upper[row] = upper * self._factors[row]
        self._solver.changeRowBounds(row, -math.inf, self._upper[row])

    def maximize(self, objective: Floats) -> tuple[float, Floats]:
        """The largest value, and a v that attains it.

        Returns:
            The value is inf where there is no largest, and -inf where no v satisfies all rows; v then is NaN.

        Raises:
            ValueError: float64 is too coarse for the program.
        """
        factor = _powers_of_two(np.asarray(objective, dtype=np.float64)[None])[0]
        goal = objective * factor
        self._solver.changeColsCost(len(goal), self._columns, goal)
        status = self._run()
        if status == highspy.HighsModelStatus.kUnbounded:
            return math.inf, np.full(len(goal), math.nan)
        if status == highspy.HighsModelStatus.kInfeasible:
            return -math.inf, np.full(len(goal), math.nan)
        if status == highspy.HighsModelStatus.kOptimal:
            solution = self._solver.getSolution()
            found, dual = np.array(solution.col_value), np.maximum(np.array(solution.row_dual), 0)
            if self._gap(goal, found, dual) <= _GAP * max(1.0, abs(goal @ found)):
                self.dual = dual * self._factors / factor
                return float(goal @ found) / factor, found
        raise ValueError(TOO_ILL_SHAPED)

    def _run(self) -> highspy.HighsModelStatus:
        """HiGHS's verdict; without presolve where that leaves none."""
        decided = (
            highspy.HighsModelStatus.kOptimal,
            highspy.HighsModelStatus.kUnbounded,
            highspy.HighsModelStatus.kInfeasible,
        )
        self._solver.run()
        status = self._solver.getModelStatus()
        if status not in decided:
            self._solver.setOptionValue("presolve", "off")
            self._solver.clearSolver()
            self._solver.run()
            self._solver.setOptionValue("presolve", "choose")
            status = self._solver.getModelStatus()
        return status

    def _gap(self, goal: Floats, found: Floats, dual: Floats) -> float:
        """How far a solution's value may be from the optimum, by weak duality; large for long regions, by rounding."""
        rest, used = goal - dual @ self._rows, dual > 0
        most = dual[used] @ self._upper[used]
        if math.isfinite(self._reach):
            return float(abs(most + np.abs(rest).sum() * self._reach - goal @ found))
        return float(abs(most - goal @ found) + np.abs(rest) @ np.abs(found))


TOO_ILL_SHAPED = (
    "The region is too ill-shaped for linear programs in float64: more than some 1e9 times longer than it is wide. Cut "
    "it by Polytope.within(low, high), or scale the model's inputs so that its sides are of like size."
)


def _powers_of_two(rows: Floats) -> Floats:
    """What to multiply each row by so that its largest number lies between 1/2 and 1; 1 for rows of zeros."""
    largest = np.abs(rows).max(1, initial=0.0)
    factors: Floats = np.ldexp(1.0, np.where(largest > 0, -np.frexp(largest)[1], 0).clip(-1022, 1022))
    return factors
