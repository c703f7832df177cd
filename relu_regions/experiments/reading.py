"""Reading the networks of experiments: hundreds of them, of few architectures."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from relu_regions.network import Network

__all__ = ["read"]

_MODULES: dict[tuple[str, tuple[int, ...]], nn.Module] = {}


def read(model: nn.Module, input_shape: Sequence[int]) -> Network:
    """As `Network.from_module`, but traced once for all modules that print alike.

    To trace a network takes as long as to walk hundreds of lines through it. The modules of experiments are made of
    torch's own layers and `Maxout`, so that all but their numbers is in what they print.

    Args:
        model: one of an experiment, in eval mode; not modified.
        input_shape: shape of one input, without the batch dimension.
    """
    key = (repr(model), tuple(input_shape))
    if key not in _MODULES:
        _MODULES[key] = copy.deepcopy(model)
    # Assigned, not copied into what is there: they keep their own precision.
    _MODULES[key].load_state_dict(model.state_dict(), assign=True)
    return Network.from_module(_MODULES[key], input_shape)
