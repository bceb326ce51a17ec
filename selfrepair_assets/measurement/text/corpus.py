"""A corpus as sequences of tokens, as the paper cuts them (section 3 of the specification).

1. Each document is tokenised by itself, without the tokenizer's special tokens.
2. The documents are joined by the end-of-text token.
3. The stream is cut in rows of `sequence_length - 1` tokens, each with BOS put first; of
   `sequence_length` tokens where the tokenizer has no BOS. No row is ever padded.
4. Of these rows a run measures a random sample in random order, so that its tokens stand for the
   corpus and not for its first documents.

The rows are those of `tokenize_and_concatenate` in TransformerLens, as far as that works through
one batch of documents (1,000): there it drops what does not fill a row and starts anew, here the
stream goes on. At most `_pool` rows are looked at, and documents read no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.text.documents import (
    SHUFFLE_BUFFER,
    Document,
    is_on_the_hub,
    text_documents,
)

POOL_TOKENS = 5_000_000
"""A sample is drawn from so many tokens of the corpus, or ten times those asked for if more."""
_PIECE = 1 << 18  # characters of a long document that are tokenised at once: a few MB of memory
_CONTEXT = 500  # characters on either side that must tokenise alike with and without a cut
ROWS_AT_ONCE = 1_000
_WORD_END = re.compile(r"(?<=\S)\s")


@dataclass(frozen=True)
class Text:
    """The sequences that a run measures, and where they come from.

    Attributes:
        tokens: int32 [sequence pos].
        documents: int32 [sequence pos], the document that each token is of, counted from 0 as the
            corpus was read; a separator belongs to the document that it ends, BOS to the next one.
        names: of these documents, by their number.
        drawn_from: what the sequences were drawn from, in words.
    """

    tokens: np.ndarray
    documents: np.ndarray
    names: dict[int, str]
    drawn_from: str


def token_sequences(
    corpus: str,
    tokenizer: Any,
    *,
    n_sequences: int,
    sequence_length: int,
    sample: str = "random",
    seed: int = 0,
    text_column: str | None = None,
    n_ctx: int | None = None,
    d_vocab: int | None = None,
) -> Text:
    """`n_sequences` rows of a corpus.

    Of one corpus and seed, a larger random sample begins with the smaller one where both are drawn
    from the same pool.

    Args:
        corpus: as in `text_documents`.
        tokenizer: the model's, as its files say; it is not changed.
        n_sequences: rows, two at least.
        sequence_length: tokens in a row, BOS included.
        sample: `random`, drawn with `seed` from the pool; `head`, the first rows in their order.
        seed: of the sample, and of the shuffling of a data set that is streamed.
        text_column: as in `text_documents`.
        n_ctx: the longest sequence that the model takes; None does not check.
        d_vocab: the tokens that the model knows; None does not check.

    Raises:
        InputError: too little text, sequences longer than the model's context, a tokenizer that
            is not the model's, or whatever `text_documents` finds.
    """
    if n_ctx is not None:
        check_sequence_length(sequence_length, n_ctx)
    bos = tokenizer.bos_token_id
    length = sequence_length if bos is None else sequence_length - 1
    at_random = sample == "random"
    shuffle_seed = seed if at_random and is_on_the_hub(corpus) else None
    source = _Source(text_documents(corpus, text_column, shuffle_seed))
    most = max(10 * n_sequences, POOL_TOKENS // sequence_length) if at_random else n_sequences
    rng, n_rows = np.random.default_rng(seed), 0
    keys, chosen = np.empty(0), np.empty((0, 2, length), dtype=np.int32)
    for block in _rows(source.tokens(tokenizer), length, min(n_sequences, ROWS_AT_ONCE)):
        rows = block[: most - n_rows]
        # A row's key is random, or its place; those of the smallest keys stay, in their order.
        new = rng.random(len(rows)) if at_random else n_rows + np.arange(len(rows))
        keys, chosen = np.concatenate([keys, new]), np.concatenate([chosen, rows])
        order = np.argsort(keys, kind="stable")[:n_sequences]
        keys, chosen = keys[order], chosen[order]
        n_rows += len(rows)
        if n_rows == most:
            break
    if n_rows < n_sequences:
        raise _too_little(corpus, source.n_tokens, n_rows, n_sequences, sequence_length)
    if bos is not None:  # BOS, of the document that follows it
        first = np.stack([np.full(n_sequences, bos, dtype=np.int32), chosen[:, 1, 0]], axis=1)
        chosen = np.concatenate([first[:, :, None], chosen], axis=2)
    tokens, documents = np.ascontiguousarray(chosen[:, 0]), np.ascontiguousarray(chosen[:, 1])
    if d_vocab is not None and tokens.max() >= d_vocab:
        raise InputError(
            f"The tokenizer gives token {tokens.max()}, and the model knows {d_vocab} tokens only. "
            "Save the tokenizer that belongs to the model beside it."
        )
    names = {document: source.names[document] for document in np.unique(documents).tolist()}
    return Text(tokens, documents, names, source.in_words(n_rows, at_random, shuffle_seed))


class _Source:
    """A corpus' documents, read once: what they are called, and how much was read."""

    def __init__(self, documents: Iterator[Document]) -> None:
        self._documents = documents
        self.names: list[str] = []
        self.n_tokens, self._ended = 0, False

    def tokens(self, tokenizer: Any) -> Iterator[tuple[int, list[int]]]:
        """The tokens of all documents in pieces, each with its document's number.

        The end-of-text token is between documents.
        """
        separator = tokenizer.eos_token_id
        for i, document in enumerate(self._documents):
            self.names.append(document.name)
            pieces = _document_tokens(document, tokenizer)
            if i and separator is not None:
                yield i - 1, [separator]
                self.n_tokens += 1
            for piece in pieces:
                self.n_tokens += len(piece)
                yield i, piece
        self._ended = True

    def in_words(self, n_rows: int, at_random: bool, shuffle_seed: int | None) -> str:
        """What was read, such as `all 1,208 sequences of 83 documents`."""
        n, s = len(self.names), "" if len(self.names) == 1 else "s"
        if self._ended and at_random:
            return f"all {n_rows:,} sequences of {n:,} document{s}"
        shuffled = "" if shuffle_seed is None else f", shuffled {SHUFFLE_BUFFER:,} at a time"
        return f"the first {n_rows:,} sequences, of {n:,} document{s}{shuffled}"


def look_at_corpus(corpus: str, text_column: str | None = None) -> None:
    """Look whether a corpus on this machine is there, and where its text begins; reads no more.

    A data set of the hub is looked for when it is read: asking for it takes a network.

    Raises:
        InputError: whatever `text_documents` finds.
    """
    documents = text_documents(corpus, text_column)
    if not is_on_the_hub(corpus):
        for document in islice(documents, 1):
            next(iter(document), None)


def check_sequence_length(sequence_length: int, n_ctx: int) -> None:
    """Refuse sequences that are longer than the model's context.

    Raises:
        InputError: `sequence_length` is above `n_ctx`.
    """
    if sequence_length > n_ctx:
        raise InputError(
            f"Sequences of {sequence_length} tokens are longer than the model's context of "
            f"{n_ctx}. Use --sequence-length {n_ctx} or less."
        )


def token_texts(tokens: np.ndarray, tokenizer: Any) -> np.ndarray:
    """Each token's text by itself, with its leading space: an array of str shaped like `tokens`.

    Every id is decoded once. A token that is part of a character, as byte-level vocabularies have
    them, shows as U+FFFD; an id that the tokenizer does not know is the empty string.
    """
    ids, places = np.unique(tokens, return_inverse=True)
    pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
    texts = np.empty(len(ids), dtype=object)
    for i, (token, piece) in enumerate(zip(ids.tolist(), pieces, strict=True)):
        text = tokenizer.decode([token], clean_up_tokenization_spaces=False) if piece else ""
        # SentencePiece writes a leading space as U+2581 and drops it where a text begins.
        is_cut = bool(piece) and piece.startswith("\u2581") and not text.startswith(" ")
        texts[i] = " " + text if is_cut else text
    return texts[places].reshape(np.shape(tokens))


def _rows(
    stream: Iterable[tuple[int, list[int]]], length: int, at_once: int
) -> Iterator[np.ndarray]:
    """The stream cut in rows, some at a time: int32 [row, (token, document), pos]."""
    waiting, n_waiting = [np.empty((2, 0), dtype=np.int32)], 0
    for document, tokens in stream:
        piece = np.full((2, len(tokens)), document, dtype=np.int32)
        piece[0] = tokens
        waiting.append(piece)
        n_waiting += len(tokens)
        if n_waiting >= at_once * length:
            together = np.concatenate(waiting, axis=1)
            n = n_waiting // length * length
            yield together[:, :n].reshape(2, -1, length).transpose(1, 0, 2)
            waiting, n_waiting = [together[:, n:]], n_waiting - n
    together = np.concatenate(waiting, axis=1)
    n = n_waiting // length * length
    yield together[:, :n].reshape(2, -1, length).transpose(1, 0, 2)


def _document_tokens(document: Document, tokenizer: Any) -> Iterator[list[int]]:
    """The tokens that the whole document has, found piece by piece where that is the same.

    A long text is cut where a word ends, if the text around gives the same tokens with the cut
    as without: true of byte-level vocabularies, whose words begin with their space. Where no such
    place is found (SentencePiece puts a space before every text) the document is taken whole.
    """
    text, limit = "", _PIECE
    for block in document:
        text += block
        while len(text) > limit:
            cut = _harmless_cut(text, tokenizer)
            if cut is None:
                limit = 2 * len(text)
                break
            yield _encode(text[:cut], tokenizer)
            text, limit = text[cut:], _PIECE
    yield _encode(text, tokenizer)


def _harmless_cut(text: str, tokenizer: Any) -> int | None:
    word_ends = _WORD_END.finditer(text, len(text) // 2, len(text) - _CONTEXT)
    for place in islice(word_ends, 20):
        cut = place.start()
        left, right = text[cut - _CONTEXT : cut], text[cut : cut + _CONTEXT]
        together = _encode(left + right, tokenizer)
        if together == _encode(left, tokenizer) + _encode(right, tokenizer):
            return cut
    return None


def _encode(text: str, tokenizer: Any) -> list[int]:
    # verbose=False: that a text is longer than the context is no news, since it is cut in rows.
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def _too_little(
    corpus: str, n_tokens: int, n_fitting: int, n_sequences: int, sequence_length: int
) -> InputError:
    wanted = n_sequences * sequence_length
    fitting = n_fitting * sequence_length
    problem = (
        f"The corpus '{corpus}' has {n_tokens} tokens, enough for {n_fitting} sequence(s) of "
        f"{sequence_length} and not for the {n_sequences} that --tokens {wanted} fills."
    )
    if n_fitting >= 2:
        return InputError(f"{problem} Use --tokens {fitting} or fewer, or a longer text.")
    return InputError(f"{problem} Two are the least: use a longer text or shorter sequences.")
