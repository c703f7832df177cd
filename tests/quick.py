"""Which cases of a law the quick run asks: some of them, spread over the whole; the long run asks the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings

__all__ = ["examples", "some_quick"]


def some_quick(
    names: str, *values: Iterable[Any], one_in: int, ids: Callable[[Any], str] | None = None
) -> pytest.MarkDecorator:
    """All combinations of values as cases, of which the quick run asks one in so many.

    Args:
        names: of the arguments, with commas between them.
        values: of each of them.
        ids: the name of a value.
    """
    several = [tuple(each) for each in product(*values)]
    # The last argument changes first. One in a number that shares no divisor with the counts of values meets them all.
    params = [
        pytest.param(*case, marks=[] if number % one_in == 0 else pytest.mark.long)
        for number, case in enumerate(several)
    ]
    return pytest.mark.parametrize(names, params, ids=ids)


def examples(count: int, *strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A law for drawn examples: a third of so many in the quick run, all of them in the long run."""

    def as_test(law: Callable[..., None]) -> Callable[..., None]:
        runs = [pytest.param(count // 3, id="some"), pytest.param(count, id="all", marks=pytest.mark.long)]

        @pytest.mark.parametrize("drawn", runs)
        def test(drawn: int) -> None:
            settings(max_examples=drawn, deadline=None)(given(*strategies)(law))()

        test.__name__, test.__doc__ = law.__name__, law.__doc__
        return test

    return as_test
