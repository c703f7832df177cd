"""Tables of what is equal in values whose channels are all alike: place by place, for all channels at once.

Behind a convolution a number is equal to another one of its own channel, or it is 0, and at the same places in every
channel. So a table of the places says all, and what follows looks at no more than these. Where channels are not alike
any more (two equal kernels, a bias that is 0, a permutation), a table of all numbers takes over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Grid", "full"]


class Grid(NamedTuple):
    """The first equal numbers of a value: some zeros in front, then channels.

    Attributes:
        front: how many numbers stand before the channels; all are 0.
        channels: how many there are.
        first: of each place the first one that is equal to it in every channel, -1 where all are 0: ``(M, places)``.
    """

    front: int
    channels: int
    first: Tensor

    @property
    def places(self) -> int:
        """How many a channel has."""
        return self.first.shape[1]

    @property
    def is_plain(self) -> bool:
        """Whether all numbers differ."""
        return not self.front and bool((self.first == torch.arange(self.places)).all())

    def full(self) -> Tensor:
        """The first equal numbers one by one, ``(M, numbers)``."""
        begun = self.front + self.places * torch.arange(self.channels)[:, None]
        first = torch.where(self.first[:, None] < 0, -1, begun + self.first[:, None]).flatten(1)
        return torch.nn.functional.pad(first, (self.front, 0), value=-1)

    def to(self, device: torch.device) -> Grid:
        """The same on a device."""
        return self._replace(first=self.first.to(device))

    def are_alike(self, numbers: Tensor) -> bool:
        """Whether some numbers, one for each of the value's, are the same at all places of a channel."""
        if self.front:
            return False
        columns = numbers.view(self.channels, self.places)
        return bool((columns == columns[:, :1]).all())

    def shifted(self, added: Tensor, bare: Tensor) -> Grid | None:
        """Once numbers are added, but for the tables that are bare; None if channels are not alike then.

        What was 0 is what was added: equal to what was 0 in its own channel, and to no other number if what is added
        differs from channel to channel.
        """
        if not self.are_alike(added):
            return None
        zero = (self.first < 0) & ~bare[:, None]
        if not zero.any():
            return self
        each = added.view(self.channels, self.places)[:, 0]
        if not each.all() or len(set(each.tolist())) < len(each):
            return None
        return self._replace(first=torch.where(zero, zero.to(torch.uint8).argmax(1, keepdim=True), self.first))

    def windows(self, windows: Tensor) -> Tensor | None:
        """The windows of a maximum as those of one channel, ``(units, k)`` places; None if channels differ in them.

        Zeros in front count as places before the others.
        """
        channels, front = self.channels, self.front
        if not len(windows) or len(windows) % channels:
            return None
        each = windows.view(channels, -1, windows.shape[1])
        own = each - self.places * torch.arange(channels, device=windows.device)[:, None, None]
        inside = (each < front) | ((own >= front) & (own < front + self.places))
        own = torch.where(each < front, each, own)
        return own[0] if bool((inside & (own == own[:1])).all()) else None

    def with_front(self) -> Tensor:
        """The table of one channel behind the zeros in front, ``(M, front + places)``."""
        first = torch.where(self.first < 0, -1, self.first + self.front)
        return torch.nn.functional.pad(first, (self.front, 0), value=-1)


def full(first: Tensor | Grid) -> Tensor:
    """The first equal numbers one by one, ``(M, numbers)``."""
    return first.full() if isinstance(first, Grid) else first
