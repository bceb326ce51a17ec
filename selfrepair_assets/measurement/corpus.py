"""A corpus as sequences of tokens, as the paper cuts them (section 3 of the specification).

1. Each document is tokenised by itself, without the tokenizer's special tokens.
2. The documents are joined by the end-of-text token.
3. The stream is cut in rows of `sequence_length - 1` tokens, each with BOS put first; of
   `sequence_length` tokens where the tokenizer has no BOS. No row is ever padded.

These are the rows of `tokenize_and_concatenate` in TransformerLens, as far as that works through
one batch of documents (1,000): there it drops what does not fill a row and starts anew, here the
stream goes on. Documents are read until the rows are full, and no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from selfrepair_assets.measurement.documents import Document, is_on_the_hub, text_documents
from selfrepair_assets.measurement.errors import InputError

__all__ = [
    "check_sequence_length",
    "look_at_corpus",
    "text_documents",
    "token_sequences",
    "token_texts",
]

_PIECE = 1 << 18  # characters of a long document that are tokenised at once: a few MB of memory
_CONTEXT = 500  # characters on either side that must tokenise alike with and without a cut
_WORD_END = re.compile(r"(?<=\S)\s")


def token_sequences(
    corpus: str,
    tokenizer: Any,
    *,
    n_sequences: int,
    sequence_length: int,
    text_column: str | None = None,
    n_ctx: int | None = None,
    d_vocab: int | None = None,
) -> np.ndarray:
    """The first `n_sequences` rows of a corpus: int32 token ids, [sequence pos].

    Args:
        corpus: as in `text_documents`.
        tokenizer: the model's, as its files say; it is not changed.
        n_sequences: rows, two at least.
        sequence_length: tokens in a row, BOS included.
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
    row = sequence_length if bos is None else sequence_length - 1
    wanted, filled = n_sequences * row, 0
    pieces = []  # no more memory than the text that there is, however much was asked for
    for tokens in _token_stream(text_documents(corpus, text_column), tokenizer):
        pieces.append(np.array(tokens[: wanted - filled], dtype=np.int32))
        filled += len(pieces[-1])
        if filled == wanted:
            break
    else:
        raise _too_little(corpus, filled, filled // row, n_sequences, sequence_length)
    rows = np.concatenate(pieces).reshape(n_sequences, row)
    if bos is not None:
        rows = np.concatenate([np.full((n_sequences, 1), bos, dtype=np.int32), rows], axis=1)
    if d_vocab is not None and rows.max() >= d_vocab:
        raise InputError(
            f"The tokenizer gives token {rows.max()}, and the model knows {d_vocab} tokens only. "
            "Save the tokenizer that belongs to the model beside it."
        )
    return rows


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


def _token_stream(documents: Iterable[Document], tokenizer: Any) -> Iterator[list[int]]:
    """The tokens of all documents in pieces, with the end-of-text token between documents."""
    separator = tokenizer.eos_token_id
    for i, document in enumerate(documents):
        if i and separator is not None:
            yield [separator]
        yield from _document_tokens(document, tokenizer)


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
