"""The oracle against cases worked by hand, and against the network evaluated at single points."""

import math
from fractions import Fraction
from functools import cache
from itertools import pairwise
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.equal_modules import to_torch
from tests.oracles.fractions_walk import Flip, Interval, Walk, evaluate, exact_interval, walk
from tests.quick import examples
from tests.strategies import FLAVOURS, GATES, LINES, RANGES, Case, cases, make_case, random_case

F = Fraction
RELU = ("knots", [0], [0, 1], [0, 0])
EVERYWHERE = (-math.inf, math.inf)


def between(start, end):
    """The segment from start to end, as the arguments of a walk."""
    return start, [b - a for a, b in zip(start, end)], 0, 1


def lines(*intercepts_and_slopes):
    """A layer that makes these functions of t from the input t."""
    intercepts, slopes = zip(*intercepts_and_slopes)
    return ("affine", [[slope] for slope in slopes], list(intercepts))


def bends(found: Walk):
    return [(bend.t, bend.flips) for bend in found.breakpoints]


# ---------------------------------------------------------------- walks worked by hand


def test_relu_on_a_segment():
    found = walk([RELU], *between((-1, 3), (3, -1)))
    assert bends(found) == [(F(1, 4), (Flip(0, 0, 0, 1),)), (F(3, 4), (Flip(0, 1, 1, 0),))]
    assert [bend.logits for bend in found.breakpoints] == [(0, 2), (2, 0)]
    assert found.first_pattern == ((0, 1),)
    assert [region.pattern for region in found.regions] == [((0, 1),), ((1, 1),), ((1, 0),)]
    assert [region.slope for region in found.regions] == [(0, -4), (4, -4), (4, 0)]
    assert [region.intercept for region in found.regions] == [(0, 3), (-1, 3), (-1, 0)]
    assert [(region.lo, region.hi) for region in found.regions] == [(0, F(1, 4)), (F(1, 4), F(3, 4)), (F(3, 4), 1)]


def test_max_pooling():
    pooling = ("maximum", [[0], [1, 2], [3]])  # 1×2 windows, stride 2, padding 1
    found = walk([pooling], *between((1, 2, 1, 3), (1, 2, 5, 3)))
    assert bends(found) == [(F(1, 4), (Flip(0, 1, 0, 1),))]
    found = walk([RELU, pooling], *between((-1, 2, 1, 3), (1, 2, 5, 3)))
    assert bends(found) == [(F(1, 4), (Flip(1, 1, 0, 1),)), (F(1, 2), (Flip(0, 0, 0, 1),))]
    # Without padding the windows are others.
    assert bends(walk([("maximum", [[0, 1], [2, 3]])], *between((1, 2, 1, 3), (1, 2, 5, 3)))) == [
        (F(1, 2), (Flip(0, 1, 1, 0),))
    ]


def test_maximum_of_zeros_keeps_its_first_input():
    found = walk([RELU, ("maximum", [[0, 1]])], *between((1, -3), (-3, 1)))
    assert bends(found) == [(F(1, 4), (Flip(0, 0, 1, 0),)), (F(3, 4), (Flip(0, 1, 0, 1), Flip(1, 0, 0, 1)))]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (lines((0, -1), (1, 0), (0, 1)), [(-1, 0, 1), (1, 1, 2)]),
        (lines((0, -1), (0, 0), (0, 1)), [(0, 0, 2)]),  # all three meet
        (lines((0, -1), (-1, 0), (0, 1)), [(0, 0, 2)]),  # the second is below throughout
        (lines((0, 1), (0, -1), (0, 1), (0, -1)), [(0, 1, 0)]),  # two of each
        (lines((2, 0), (2, 0)), []),
        (lines((-3, 0), (0, 1), (0, 1), (-4, -1)), [(-2, 3, 1)]),  # the first is below throughout
    ],
)
def test_envelope(window, expected):
    layers = [window, ("maximum", [list(range(len(window[1])))])]
    found = walk(layers, [0], [1], -4 if len(window[1]) == 4 else -10, 10)
    assert bends(found) == [(t, (Flip(0, 0, before, after),)) for t, before, after in expected]


def test_on_a_knot_throughout_is_below_it():
    layers = [lines((1, 0), (-1, 0), (0, 1)), ("knots", [-1, 1], [0, 1, 0], [-1, 0, 1])]
    found = walk(layers, [0], [1], *EVERYWHERE)
    assert [region.pattern for region in found.regions] == [((1, 0, 0),), ((1, 0, 1),), ((1, 0, 2),)]
    assert walk([lines((0, 0)), RELU], [0], [1], -1, 1).first_pattern == ((0,),)


def test_touching_a_knot_is_no_breakpoint():
    absolute = ("knots", [0], [-1, 1], [0, 0])
    found = walk([absolute, RELU], [0], [1], -1, 1)
    assert bends(found) == [(0, (Flip(0, 0, 0, 1),))]
    assert [region.pattern for region in found.regions] == [((0,), (1,)), ((1,), (1,))]


def test_a_change_of_piece_is_a_breakpoint_although_the_output_stays():
    found = walk([RELU, ("affine", [[0]], [5])], [0], [1], -1, 1)
    assert bends(found) == [(0, (Flip(0, 0, 0, 1),))]
    assert {(region.intercept, region.slope) for region in found.regions} == {((5,), (0,))}


def test_knots_of_their_own_for_every_unit():
    gate = ("knots", [[0], [1]], [[0, 1], [F(1, 3), 1]], [[0, 0], [F(2, 3), 0]])
    found = walk([gate], [0, 0], [1, 2], *EVERYWHERE)
    assert bends(found) == [(0, (Flip(0, 0, 0, 1),)), (F(1, 2), (Flip(0, 1, 0, 1),))]
    assert [region.slope for region in found.regions] == [(0, F(2, 3)), (1, F(2, 3)), (1, 2)]


def test_ends_of_the_range_are_no_breakpoints():
    assert bends(walk([RELU], [0], [1], 0, 1)) == bends(walk([RELU], [0], [1], -1, 0)) == []
    assert walk([RELU], [0], [1], 0, 1).first_pattern == ((1,),)
    assert walk([RELU], [0], [1], -1, 0).first_pattern == ((0,),)


def test_values_can_be_added_and_concatenated():
    layers = [RELU, ("add", [0, 1, 1]), ("concatenate", [2, 0])]
    found = walk(layers, [1], [1], *EVERYWHERE)
    assert [(region.intercept, region.slope) for region in found.regions] == [((1, 1), (1, 1)), ((3, 1), (3, 1))]


def test_positions_beyond_floats():
    found = walk([RELU], [1e200], [1e-200], *EVERYWHERE)
    assert [bend.t for bend in found.breakpoints] == [-F(1e200) / F(1e-200)]


def test_a_network_without_gates_has_one_region():
    found = walk([lines((1, 2))], [0], [1], -1, 1)
    assert found.breakpoints == () and found.regions[0] == (-1, 1, (), (1,), (2,))


@pytest.mark.parametrize("seed", range(5))
def test_without_biases_a_line_through_the_origin_bends_once(seed):
    case = make_case([4, 20, 20, 20, 3], bias=False, line="through the origin", t_range=EVERYWHERE, seed=seed)
    (bend,) = walk(*case).breakpoints
    assert [x + bend.t * F(d) for x, d in zip(case.x, case.d)] == [0] * 4
    assert {flip.unit for flip in bend.flips if flip.gate == 0} == set(range(20))


# ---------------------------------------------------------------- intervals worked by hand


@pytest.mark.parametrize(
    ("layers", "t_range", "expected"),
    [
        ([lines((1, -1), (0, 0))], (-1, 2), Interval(-1, 1, 0, -1, 1, False)),
        ([lines((1, -1), (0, 0))], EVERYWHERE, Interval(-math.inf, 1, 0, -1, 1, False)),
        ([lines((1, -1), (0, 0))], (-1, 1), Interval(-1, 1, 0, -1, -1, False)),  # a tie where the range ends
        ([lines((1, -1), (0, 0))], (0, 2), Interval(0, 1, 0, -1, 1, False)),
        ([lines((0, 0), (1, -1), (1, 1))], EVERYWHERE, Interval(-math.inf, 0, 1, -1, 2, True)),
        ([lines((0, 0), (0, 1))], EVERYWHERE, Interval(-math.inf, 0, 0, -1, 1, True)),
        ([lines((0, 1), (0, 0), (0, 2), (0, 2))], EVERYWHERE, Interval(0, 0, 0, 1, 2, True)),  # the steepest follows
        ([lines((3, 0), (3, 0), (0, 1))], EVERYWHERE, Interval(-math.inf, 3, 0, -1, 2, True)),
        ([lines((3, 0), (0, 1), (0, 1))], EVERYWHERE, Interval(-math.inf, 3, 0, -1, 1, False)),
        ([lines((-1, 1))], EVERYWHERE, Interval(-math.inf, 1, 0, -1, 1, False)),  # one output, against 0
        ([lines((1, 1))], EVERYWHERE, Interval(-1, math.inf, 1, 0, -1, False)),
        ([lines((0, 1))], EVERYWHERE, Interval(-math.inf, 0, 0, -1, 1, True)),
        # |t - 1| against 0: a tie that only touches ends nothing; nor does one throughout.
        ([lines((-1, 1), (0, 0)), ("knots", [0], [-1, 1], [0, 0])], (-9, 9), Interval(-9, 9, 0, -1, -1, False)),
        ([lines((-1, 1), (0, 0)), RELU], (-9, 9), Interval(-9, 9, 0, -1, -1, True)),
        ([lines((0, 0), (-1, 1)), RELU], (-9, 9), Interval(-9, 1, 0, -1, 1, True)),
        # A kink at x, where the label loses on the one side only.
        ([RELU, lines((0, 0), (0, 1))], EVERYWHERE, Interval(-math.inf, 0, 0, -1, 1, True)),
        ([RELU, lines((0, -1), (0, 0))], (-2, 2), Interval(-2, 0, 0, -1, 1, True)),
        # The overtaking comes three regions away: 2 against relu(t - 1) + relu(t - 2) + relu(t - 3).
        (
            [lines((-1, 1), (-2, 1), (-3, 1)), RELU, ("affine", [[0, 0, 0], [1, 1, 1]], [2, 0])],
            EVERYWHERE,
            Interval(-math.inf, F(5, 2), 0, -1, 1, False),
        ),
    ],
)
def test_interval(layers, t_range, expected):
    assert exact_interval(layers, [0], [1], *t_range) == expected
    lo, hi, label, label_lo, label_hi, tied = expected
    mirrored = [("affine", [[-1]], [0]), *layers]
    assert exact_interval(mirrored, [0], [1], -t_range[1], -t_range[0]) == (-hi, -lo, label, label_hi, label_lo, tied)


def test_only_the_chosen_classes_compete():
    layers = [lines((1, 0), (0, 1), (-1, 2), (5, 0))]
    assert exact_interval(layers, [0], [1], -9, 9, classes=[2, 0]) == (-9, 1, 0, -1, 2, False)
    assert exact_interval(layers, [0], [1], -9, 9, classes=[1, 2]) == (-9, 1, 1, -1, 2, False)
    tie = [lines((1, 0), (1, 0), (0, 1))]
    assert exact_interval(tie, [0], [1], -9, 9, classes=[2, 1, 0]) == (-9, 1, 0, -1, 2, True)


# ---------------------------------------------------------------- against the network at single points


def assert_is_the_network(case: Case, rng: Random) -> Walk:
    """That the regions fill the range, each is the network at points inside, and no two neighbours are one."""
    layers, x, d, lo, hi = case
    found = walk(*case)

    def at(t):
        return evaluate(layers, [F(a) + t * F(b) for a, b in zip(x, d)])

    assert [region.lo for region in found.regions] == [lo, *(bend.t for bend in found.breakpoints)]
    assert [region.hi for region in found.regions] == [*(bend.t for bend in found.breakpoints), hi]
    for region in found.regions:
        assert region.lo < region.hi
        # On a set of one pattern the network is affine, and the set is convex: two points prove what lies between.
        for t in (point(region.lo, region.hi, share) for share in (F(1, 2**40), share_of(rng), 1 - F(1, 2**40))):
            assert at(t) == (region.logits(t), region.pattern)
    for bend, (before, after) in zip(found.breakpoints, pairwise(found.regions)):
        t, flips, logits = bend
        assert at(t)[0] == logits == before.logits(t) == after.logits(t)
        assert flips and list(flips) == sorted(flips)
        pattern = [list(pieces) for pieces in before.pattern]
        for gate, unit, old, new in flips:
            assert pattern[gate][unit] == old != new
            pattern[gate][unit] = new
        assert pattern == [list(pieces) for pieces in after.pattern]
    return found


def share_of(rng: Random):
    return F(rng.randint(1, 999), 1000)


def point(lo, hi, share):
    """A number strictly between, near lo for a small share and near hi for one near 1."""
    if math.isinf(lo) and math.isinf(hi):
        return 1 / (1 - share) - 1 / share
    if math.isinf(lo):
        return hi + 1 - 1 / share
    return lo - 1 + 1 / (1 - share) if math.isinf(hi) else lo + share * (hi - lo)


def assert_is_the_interval(case: Case, found: Walk, rng: Random) -> None:
    """That the label holds at points inside and at both ends, and is overtaken right beyond them."""
    layers, x, d, lo, hi = case
    interval = exact_interval(*case)
    stops = [lo, *(bend.t for bend in found.breakpoints), hi]

    def at(t):
        logits = evaluate(layers, [F(a) + t * F(b) for a, b in zip(x, d)])[0]
        return [F(0), *logits] if len(logits) == 1 else list(logits)

    at_x = at(F(0))
    assert interval.label == at_x.index(max(at_x)) and interval.tied == (at_x.count(max(at_x)) > 1)
    assert lo <= interval.lo <= 0 <= interval.hi <= hi
    inside = [t for t in stops if interval.lo <= t <= interval.hi and not math.isinf(t)]
    inside += [point(interval.lo, interval.hi, share_of(rng)) for _ in range(5) if interval.lo < interval.hi]
    for t in inside:
        assert at(t)[interval.label] == max(at(t))
    for end, label, limit in ((interval.lo, interval.label_lo, lo), (interval.hi, interval.label_hi, hi)):
        if end == limit:
            assert label == -1
            continue
        further = [t for t in stops if (t > end if limit == hi else t < end)]
        neighbour = min(further) if limit == hi else max(further)
        beyond = point(*sorted((end, neighbour)), F(1, 2))
        here, there = at(end), at(beyond)
        leaders = [k for k, logit in enumerate(here) if logit == max(here)]
        assert interval.label in leaders and there[interval.label] < there[label]
        assert label == max(leaders, key=lambda k: there[k])


@examples(150, cases(max_width=8), st.randoms(use_true_random=False))
def test_law(case, rng):
    assert_is_the_interval(case, assert_is_the_network(case, rng), rng)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("skips", [False, True])
def test_law_for_every_flavour(flavour, skips):
    rng = Random(0)
    for seed in range(3):
        case = random_case(seed, widths=[3, 8, 7, 3], flavour=flavour, skips=skips)
        assert_is_the_interval(case, assert_is_the_network(case, rng), rng)


@pytest.mark.parametrize("gate", GATES)
def test_law_for_every_gate(gate):
    rng = Random(0)
    for seed, flavour in enumerate(("ordinary", "integers", "duplicates")):
        case = random_case(seed, widths=[3, 8, 8, 3], gates=[gate], flavour=flavour, t_range=EVERYWHERE)
        assert_is_the_interval(case, assert_is_the_network(case, rng), rng)


def halved(pattern, lo, hi):
    """Every short interval whose ends differ in pattern. None is missed, as the set of one pattern is convex."""
    if pattern(lo) == pattern(hi):
        return []
    if hi - lo < F(1, 2**20):
        return [(lo, hi)]
    return halved(pattern, lo, (lo + hi) / 2) + halved(pattern, (lo + hi) / 2, hi)


@pytest.mark.parametrize("gates", [["relu"], ["hardtanh", "leaky_relu"], ["maxout"], ["softshrink", "maxout"]])
def test_halving_finds_the_same(gates):
    """With no walk at all, nor any line: patterns at single points."""
    layers, x, d, lo, hi = make_case([3, 6, 6, 2], gates, seed=2, t_range=(-4.0, 4.0))

    @cache
    def pattern(t):
        return evaluate(layers, [F(a) + t * F(b) for a, b in zip(x, d)])[1]

    steps = halved(pattern, F(lo), F(hi))
    found = walk(layers, x, d, lo, hi)
    assert len(steps) == len(found.breakpoints) >= 4
    for (below, above), bend, (before, after) in zip(steps, found.breakpoints, pairwise(found.regions)):
        assert below <= bend.t <= above
        assert (pattern(below), pattern(above)) == (before.pattern, after.pattern)


@given(cases(max_width=8, t_range=(-1.0, 2.0)))
@settings(max_examples=50, deadline=None)
def test_backwards_is_the_mirror_image(case):
    layers, x, d, lo, hi = case
    forwards, backwards = walk(*case), walk(layers, x, [-step for step in d], -hi, -lo)
    assert [region.pattern for region in backwards.regions] == [region.pattern for region in forwards.regions[::-1]]
    assert [bend.t for bend in backwards.breakpoints] == [-b.t for b in forwards.breakpoints[::-1]]


# ---------------------------------------------------------------- descriptions


@pytest.mark.parametrize(
    "layers",
    [
        [("affine", [[1, 2]], [0])],
        [("affine", [[1]], [0, 0])],
        [("knots", [1, 0], [0, 1, 0], [0, 0, 0])],
        [("knots", [0], [0, 1, 0], [0, 0, 0])],
        [("knots", [0], [0, 1], [0, 1])],
        [("knots", [[0], [0]], [0, 1], [0, 0])],
        [("maximum", [[0, 1]])],
        [("maximum", [[]])],
        [("add", [0, 1])],
        [("affine", [[1], [1]], None), ("add", [0, 1])],
        [("sigmoid",)],
        [("affine", [[math.nan]], None)],
    ],
)
def test_descriptions_that_make_no_sense_are_refused(layers):
    with pytest.raises(ValueError, match=r"\w"):
        walk(layers, [0], [1], -1, 1)


@pytest.mark.parametrize("t_range", [(1, 1), (2, 1), (1, 2), (-2, -1)])
def test_ranges_that_are_not_around_x_are_refused(t_range):
    with pytest.raises(ValueError, match=r"range|lo < hi"):
        exact_interval([RELU], [0], [1], *t_range)


def test_cases_are_what_they_are_named():
    assert random_case(3) == random_case(3) != random_case(4)
    assert any(case.layers[0][2] is None for case in map(random_case, range(20)))
    seen = {(case.lo, case.hi) for case in map(random_case, range(100))}
    assert seen == set(RANGES)
    sizes = {abs(w) for row in make_case([2, 9, 2], flavour="tiny and huge").layers[0][1] for w in row}
    assert min(sizes) < 1e-25 and max(sizes) > 1e25
    for line in LINES:
        assert any(make_case([4, 2], line=line).d)


@pytest.mark.parametrize("flavour", ["duplicates", "integers"])
def test_degenerate_flavours_make_crossings_coincide(flavour):
    walks = [walk(*make_case([2, 10, 10, 2], flavour=flavour, line="whole numbers", seed=seed)) for seed in range(9)]
    coincident = [b for w in walks for b in w.breakpoints if sum(flip.gate == 0 for flip in b.flips) > 1]
    assert len(coincident) >= 10


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("skips", [False, True])
def test_to_torch_is_the_same_network(gate, skips):
    case = make_case([3, 9, 8, 2], [gate], skips=skips, seed=2)
    module = to_torch(case.layers)
    assert not module.training
    points = [[Random(seed + k).gauss(0, 3) for k in range(3)] for seed in range(0, 60, 3)]
    expected = [[float(logit) for logit in evaluate(case.layers, at)[0]] for at in points]
    with torch.no_grad():
        found = module(torch.tensor(points, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        ("affine", [[F(1, 3)]], None),
        ("knots", [0.0], [0.0, 1.0], [1.0, 1.0]),
        ("knots", [1.0, 2.0], [1.0, 2.0, 1.0], [0.0, -1.0, 1.0]),
    ],
)
def test_to_torch_refuses_what_it_cannot_make(layer):
    with pytest.raises(ValueError, match=r"float64|no gate"):
        to_torch([layer])
