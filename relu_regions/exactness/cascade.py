"""Claims before the judge, in float64 first; what stays open is heard again with more exact digits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.backends.memory import budget
from relu_regions.exactness.effort import Effort, Stage
from relu_regions.exactness.judge import Claims, judge
from relu_regions.exactness.judge.evaluations import Evaluator, as_differences, with_digits, with_two_digits
from relu_regions.exactness.resolving import POINTS_TO_BEGIN, products
from relu_regions.network.network import Network

__all__ = ["Proof", "proven"]

_DEEP = 8  # gates
# Of one line: rational arithmetic takes ten seconds for so many.
_MANY_PRODUCTS = 10**9


class Proof(NamedTuple):
    """What is proven of claims.

    Attributes:
        confirmed: ``(N,)`` bool, whether all that is claimed of a line is.
        digits: ``(N,)`` bool, whether that took more digits than those of float64.
        t_error: ``(K,)`` float64, how far breakpoints of confirmed lines can be from the true ones; 0 for others.
        leader: ``(N,)`` int64, the input of the last gate's one window that is ahead of all others at t = 0; -1 where
            that is not proven, or was not asked.
    """

    confirmed: Tensor
    digits: Tensor
    t_error: Tensor
    leader: Tensor


def proven(network: Network, claims: Claims, effort: Effort, at_x: bool = False) -> Proof:
    """What the judge says of claims, in float64 and then with more digits.

    Args:
        network: in float64, on the device of the claims.
        at_x: whether to say what leads at t = 0.
    """
    memory = budget(effort.memory_budget, claims.t.device)
    with effort.stage("judge", len(claims)) as stage:
        verdict = judge(network, claims, stage.reach, memory=memory, at_x=at_x)
    found = Proof(verdict.confirmed, torch.zeros_like(verdict.confirmed), verdict.t_error, verdict.leader)
    if bool(found.confirmed.all()):
        return found
    with effort.stage("digits", int((~found.confirmed).sum())) as stage:
        found = _heard(network, claims, found, stage, as_differences, memory, at_x)
        if _is_worth_more(network, claims):
            for evaluation in (with_digits, with_two_digits):
                found = _heard(network, claims, found, stage, evaluation, memory, at_x)
    return found


def _is_worth_more(network: Network, claims: Claims) -> bool:
    """Whether what is still open may be so because of rounding, or could not be settled in rational arithmetic soon.

    In a network of few gates radii are small: what they leave open there ties, and no digits tell.
    """
    points = int(claims.offsets.diff().max()) + POINTS_TO_BEGIN
    return len(network.gates) >= _DEEP or points * products(network) > _MANY_PRODUCTS


def _heard(
    network: Network, claims: Claims, found: Proof, stage: Stage, how: Evaluator, memory: int, at_x: bool
) -> Proof:
    """The proof, with what is confirmed of lines that it leaves open."""
    open_ = ~found.confirmed
    lines, points = open_.nonzero()[:, 0], open_.repeat_interleave(claims.offsets.diff())
    if not len(lines):
        return found
    verdict = judge(network, claims.only(lines), stage.reach, how, memory, at_x)
    confirmed, t_error, leader = (part.clone() for part in (found.confirmed, found.t_error, found.leader))
    confirmed[lines], t_error[points], leader[lines] = verdict.confirmed, verdict.t_error, verdict.leader
    return Proof(confirmed, found.digits | (open_ & confirmed), t_error, leader)
