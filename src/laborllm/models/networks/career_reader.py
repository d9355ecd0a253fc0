"""CAREER read on row by row: the keys and values of every row are kept, and careers that part share those before."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch

from laborllm.models.networks.career_network import CareerNetwork, Layer, sinusoids
from laborllm.models.networks.sequence_training import from_outputs
from laborllm.models.networks.sequences import Packed, Sequences
from laborllm.models.probabilities import normalise

ATTENDED_TOGETHER = 1024
"""Histories whose attention is computed together, so that what is gathered stays in the cache."""


class CareerReader:
    """Reads careers on with one network (``next_row.Reader``).

    Args:
        network: the network.
        careers: whole careers, rows to predict included.
        observed: how many rows of each person come before those to predict, shape (people,).
    """

    def __init__(self, network: CareerNetwork, careers: Sequences, observed: np.ndarray) -> None:
        self.network, self.careers, self.observed = network.eval(), careers, observed
        empty = torch.zeros((0, network.output.in_features), device=network.device)
        self.keys = [empty for _ in network.layers]
        self.values = [empty for _ in network.layers]
        self.person = np.arange(len(careers))
        self.seen = np.zeros((len(careers), 0), dtype=np.int64)  # (histories, rows): rows read, -1 where there is none
        self.ahead = 0

    def first(self) -> np.ndarray:
        """Log-probabilities of each person's first row to predict, nats, shape (people, occupations)."""
        longest = int(self.observed.max())
        seen = np.full((len(self.person), longest), -1)
        for back in range(longest, 0, -1):
            people = np.flatnonzero(self.observed >= back)
            row = self.careers.starts[people] + self.observed[people] - back
            before = seen[people, : longest - back]
            seen[people, longest - back] = len(self.keys[0]) + np.arange(len(people))
            self._read(row, self.observed[people] - back, self.careers.previous[row], before)
        self.seen = seen
        return self._predict(self.careers.previous[self.careers.starts[:-1] + self.observed])

    def following(self, parent: np.ndarray, occupation: np.ndarray) -> np.ndarray:
        """Log-probabilities of the rows behind those predicted last, nats, shape (histories, occupations)."""
        self.person, self.seen = self.person[parent], self.seen[parent]
        self.ahead += 1
        return self._predict(occupation)

    def _predict(self, previous: np.ndarray) -> np.ndarray:
        """Read the row to predict of every history; it is then one of those seen."""
        number = self.observed[self.person] + self.ahead
        own = len(self.keys[0]) + np.arange(len(number))
        states = self._read(self.careers.starts[self.person] + number, number, previous, self.seen)
        self.seen = np.concatenate([self.seen, own[:, None]], axis=1)
        with torch.inference_mode():
            place = torch.from_numpy(previous).to(states.device)
            found = from_outputs(self.network, self.network.output(states), place)
        return normalise(found.cpu().numpy())[0]

    @torch.inference_mode()
    def _read(self, row: np.ndarray, number: np.ndarray, previous: np.ndarray, seen: np.ndarray) -> torch.Tensor:
        """States of some rows, which are kept, shape (rows, width).

        Args:
            row: their places in the careers.
            number: how many rows of the person stand before each.
            previous: position of the occupation before each, -1 in first rows.
            seen: the rows read that each sees beside itself, -1 for none, shape (rows, seen).
        """
        network, device = self.network, self.network.device
        levels, place = torch.from_numpy(self.careers.levels[row]), torch.from_numpy(previous)
        packed = Packed(place.to(device), place.to(device), levels.to(device), ((len(row), 1),))
        x = network.rows(packed)
        x = x + sinusoids(int(number.max()) + 1, x.shape[1], x.device)[torch.from_numpy(number).to(device)]
        own = len(self.keys[0]) + np.arange(len(row))
        sees = torch.from_numpy(np.concatenate([seen, own[:, None]], axis=1)).to(device)  # (rows, seen + 1)
        for depth, layer in enumerate(cast(Iterable[Layer], network.layers)):
            query, key, value = layer.query_key_value(layer.attention_norm(x)).chunk(3, dim=1)
            self.keys[depth] = torch.cat([self.keys[depth], key])
            self.values[depth] = torch.cat([self.values[depth], value])
            x = layer.after(x, _attended(query, self.keys[depth], self.values[depth], sees, layer.heads))
        return network.norm(x)


def _attended(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sees: torch.Tensor, heads: int
) -> torch.Tensor:
    """What each row takes from the rows it sees, shape (rows, width)."""
    width = query.shape[1] // heads
    kept = [each.view(-1, width) for each in (keys, values)]  # (rows kept * heads, head width)
    mixed = []
    for some, places in zip(query.split(ATTENDED_TOGETHER), sees.split(ATTENDED_TOGETHER), strict=True):
        rows, seen = places.shape
        at = places.clamp(min=0)[:, None] * heads + torch.arange(heads, device=places.device)[:, None]
        key, value = (each.index_select(0, at.flatten()).view(rows * heads, seen, width) for each in kept)
        scores = torch.bmm(key, some.reshape(rows * heads, width, 1)).view(rows, heads, seen) * width**-0.5
        weights = scores.masked_fill((places < 0)[:, None], -torch.inf).softmax(2)  # (rows, heads, seen)
        mixed.append(torch.bmm(weights.view(rows * heads, 1, seen), value).view(rows, heads * width))
    return torch.cat(mixed)
