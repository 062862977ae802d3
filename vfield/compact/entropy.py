"""Entropy coding with adaptive models: a range coder that learns the symbols' frequencies as it goes.

A symbol of probability p costs -log2 p bits (Shannon 1948), which a range coder (Martin 1979) reaches to within a word
a file. Frequencies are counted for each context, from what has been coded so far, so a reader can count them, too, and
none need be stored: with n symbols seen, of which n_s were s, p(s) = (n_s + c) / (n + c k), with c = 0.4 close to
Krichevsky and Trofimov's 1/2 (1981). Counts are halved when they reach a bound: what was seen lately says more.

Symbols come in arrays, with a context for each; counts change after an array. One class serves both ways, so that
writer and reader cannot disagree about the order. Range coder: the library constriction (Bamler 2022).
"""

from __future__ import annotations

from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from vfield.errors import UserError

Integers = NDArray[np.int32]

_PRIOR = 0.4
_MOST_COUNTED = 4096.0


class Coder(Protocol):
    """What codes arrays of symbols, in either direction: writers are told the symbols, readers find them."""

    def bits(self, name: str, contexts: Integers, count: int, symbols: Integers | None) -> Integers:
        """Code zeros and ones (n,) whose contexts (n,) are below `count`; give them back."""

    def symbols(self, name: str, contexts: Integers, shape: tuple[int, int], symbols: Integers | None) -> Integers:
        """Code symbols (n,) below shape[1], whose contexts (n,) are below shape[0]; give them back."""

    def plain_bits(self, count: int, symbols: Integers | None) -> Integers:
        """Code zeros and ones that are as likely as each other."""


class _Adaptive:
    """The counts, and what follows from them; how symbols get in or out is up to the direction."""

    def __init__(self) -> None:
        self._counts: dict[str, NDArray[np.float64]] = {}

    def bits(self, name: str, contexts: Integers, count: int, symbols: Integers | None) -> Integers:
        if not len(contexts):
            return np.zeros(0, np.int32)
        counts = self._counts_of(name, (count, 2))
        chances = counts[:, 1] / counts.sum(axis=1)
        coded = self._bernoulli(chances[contexts], symbols)
        _learn(counts, contexts, coded)
        return coded

    def symbols(self, name: str, contexts: Integers, shape: tuple[int, int], symbols: Integers | None) -> Integers:
        counts = self._counts_of(name, shape)
        coded = np.zeros(len(contexts), np.int32)
        for context in np.unique(contexts).tolist():
            here = contexts == context
            chances = counts[context] / counts[context].sum()
            coded[here] = self._categorical(chances, int(here.sum()), None if symbols is None else symbols[here])
        _learn(counts, contexts, coded)
        return coded

    def plain_bits(self, count: int, symbols: Integers | None) -> Integers:
        return self._bernoulli(np.full(count, 0.5), symbols) if count else np.zeros(0, np.int32)

    def _counts_of(self, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
        if name not in self._counts:
            self._counts[name] = np.full(shape, _PRIOR)
        return self._counts[name]

    def _bernoulli(self, chances: NDArray[np.float64], symbols: Integers | None) -> Integers:
        raise NotImplementedError

    def _categorical(self, chances: NDArray[np.float64], count: int, symbols: Integers | None) -> Integers:
        raise NotImplementedError


def _learn(counts: NDArray[np.float64], contexts: Integers, coded: Integers) -> None:
    kinds = counts.shape[1]
    seen = np.bincount(contexts * kinds + coded, minlength=counts.size)
    counts += seen.reshape(counts.shape)
    full = counts.sum(axis=1) > _MOST_COUNTED
    counts[full] *= _MOST_COUNTED / 2 / counts[full].sum(axis=1, keepdims=True)
    np.maximum(counts, 0.02, out=counts)


class Writer(_Adaptive):
    """Codes symbols into words."""

    def __init__(self) -> None:
        super().__init__()
        self._encoder = constriction.stream.queue.RangeEncoder()
        self._bernoulli_family = constriction.stream.model.Bernoulli(perfect=False)

    def words(self) -> NDArray[np.uint32]:
        """What has been coded."""
        words: NDArray[np.uint32] = self._encoder.get_compressed()
        return words

    def _bernoulli(self, chances: NDArray[np.float64], symbols: Integers | None) -> Integers:
        assert symbols is not None
        self._encoder.encode(np.ascontiguousarray(symbols, np.int32), self._bernoulli_family, chances)
        return symbols

    def _categorical(self, chances: NDArray[np.float64], count: int, symbols: Integers | None) -> Integers:
        assert symbols is not None
        model = constriction.stream.model.Categorical(chances, perfect=False)
        self._encoder.encode(np.ascontiguousarray(symbols, np.int32), model)
        return symbols


class Reader(_Adaptive):
    """Finds the symbols in words again; what is given as symbols is not looked at.

    Raises:
        UserError: when asked for symbols that the words cannot hold.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        super().__init__()
        self._decoder = constriction.stream.queue.RangeDecoder(np.ascontiguousarray(words, np.uint32))
        self._bernoulli_family = constriction.stream.model.Bernoulli(perfect=False)

    def _bernoulli(self, chances: NDArray[np.float64], symbols: Integers | None) -> Integers:
        return self._decode(self._bernoulli_family, chances)

    def _categorical(self, chances: NDArray[np.float64], count: int, symbols: Integers | None) -> Integers:
        return self._decode(constriction.stream.model.Categorical(chances, perfect=False), count)

    def _decode(self, model: object, what: object) -> Integers:
        try:
            found: Integers = self._decoder.decode(model, what)
        except (AssertionError, ValueError) as error:
            raise UserError("its coded latents make no sense") from error
        return found
