"""A corpus as rows of tokens: the library's own rows, or one line that says why not."""

import copy
import json
import re
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformer_lens.utilities.tokenize_utils import tokenize_and_concatenate
from transformers import PreTrainedTokenizerFast

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.text import corpus
from selfrepair_assets.measurement.text.corpus import Text, token_sequences, token_texts
from selfrepair_assets.measurement.text.documents import Document, text_documents
from tests.helpers.models import families

PYTHON_DOCS = [topics[topic] for topic in sorted(topics)]


def trained(pre_tokenizer: pre_tokenizers.PreTokenizer, decoder: decoders.Decoder) -> Tokenizer:
    """A byte-pair tokenizer that has seen some text, with `<s>` 0 and `</s>` 1."""
    tokenizer = Tokenizer(BPE(byte_fallback=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(PYTHON_DOCS[:10], trainer)
    return tokenizer


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """Like GPT-2's: a word begins with its space, and there is no padding token."""
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=64
    )


@pytest.fixture(scope="module")
def sentence_piece() -> PreTrainedTokenizerFast:
    """Like Llama 2's: every text is given one more space in front."""
    tokenizer = trained(pre_tokenizers.Metaspace(), decoders.Metaspace())
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def library_rows(
    texts: list[str], tokenizer: PreTrainedTokenizerFast, length: int, bos: bool
) -> np.ndarray:
    rows = tokenize_and_concatenate(
        datasets.Dataset.from_dict({"text": texts}),
        copy.deepcopy(tokenizer),
        max_length=length,
        add_bos_token=bos,
        num_proc=None,
        set_format=False,
    )
    return np.array(rows["tokens"][:])


def first_rows(*args: object, **choices: object) -> np.ndarray:
    """The corpus' first rows of tokens."""
    return token_sequences(*args, sample="head", **choices).tokens  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [16, 100, 128])
def test_the_rows_are_those_of_the_library(
    length: int, byte_level: PreTrainedTokenizerFast
) -> None:
    expected = library_rows(PYTHON_DOCS, byte_level, length, bos=True)
    rows = first_rows("python-docs", byte_level, n_sequences=len(expected), sequence_length=length)
    assert rows.dtype == np.int32
    np.testing.assert_array_equal(rows, expected)
    fewer = first_rows("python-docs", byte_level, n_sequences=3, sequence_length=length)
    np.testing.assert_array_equal(fewer, expected[:3])
    assert byte_level.pad_token is None  # which the library's own would have set


def test_a_tokenizer_without_bos_fills_the_row(byte_level: PreTrainedTokenizerFast) -> None:
    without = copy.deepcopy(byte_level)
    without.bos_token = None
    expected = library_rows(PYTHON_DOCS, without, 64, bos=False)
    rows = first_rows("python-docs", without, n_sequences=len(expected), sequence_length=64)
    np.testing.assert_array_equal(rows, expected)


def test_rows_worked_out_by_hand(tmp_path: Path) -> None:
    tokenizer = families.character_tokenizer(prepend_bos=True)
    a, b, c = (tokenizer.convert_tokens_to_ids(x) for x in "abc")
    path = tmp_path / "letters.jsonl"
    path.write_text('{"text": "aab"}\n\n{"text": "cc"}\n{"text": ""}\n{"text": "baa"}\n')
    rows = first_rows(str(path), tokenizer, n_sequences=3, sequence_length=4)
    # the stream: a a b </s> c c </s> </s> b a a
    bos, eos = families.BOS, families.EOS
    assert rows.tolist() == [[bos, a, a, b], [bos, eos, c, c], [bos, eos, eos, b]]


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_a_long_document_has_the_tokens_of_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(kind)
    text = "\n\n".join(PYTHON_DOCS[:40]) + "x" * 9000 + " the end – ende " * 50
    (tmp_path / "long.txt").write_text(text)
    monkeypatch.setattr(corpus, "_PIECE", 4000)
    monkeypatch.setattr("selfrepair_assets.measurement.text.documents._BLOCK", 1001)
    documents = text_documents(str(tmp_path / "long.txt"))
    pieces = list(corpus._document_tokens(next(documents), tokenizer))
    whole = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert [token for piece in pieces for token in piece] == whole
    assert (len(pieces) > 20) == (kind == "byte_level")


def test_a_file_is_read_no_further_than_needed(
    tmp_path: Path, byte_level: PreTrainedTokenizerFast
) -> None:
    lines = [json.dumps({"text": text}) for text in PYTHON_DOCS[:2]]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "not JSON"]))
    first_rows(str(tmp_path / "a.jsonl"), byte_level, n_sequences=2, sequence_length=32)
    with pytest.raises(InputError, match="line 3 is not JSON"):
        first_rows(str(tmp_path / "a.jsonl"), byte_level, n_sequences=999, sequence_length=99)


def test_too_little_text_says_what_there_is(tmp_path: Path) -> None:
    tokenizer = families.character_tokenizer(prepend_bos=False)
    path = tmp_path / "a.txt"
    path.write_text("x" * 47)
    with pytest.raises(
        InputError,
        match=r"has 47 tokens, enough for 5 sequence\(s\) of 10 and not for the 6 that "
        r"--tokens 60 fills\. Use --tokens 50 or fewer",
    ):
        first_rows(str(path), tokenizer, n_sequences=6, sequence_length=10)
    assert first_rows(str(path), tokenizer, n_sequences=5, sequence_length=10).shape == (5, 10)
    with pytest.raises(InputError, match="Two are the least: use a longer text or shorter"):
        first_rows(str(path), tokenizer, n_sequences=2, sequence_length=40)


def test_sequences_must_fit_the_model(byte_level: PreTrainedTokenizerFast) -> None:
    rows = partial(first_rows, "python-docs", byte_level, n_sequences=2, sequence_length=64)
    with pytest.raises(InputError, match=r"longer than the model's context of 63\. Use --sequ"):
        rows(n_ctx=63)
    assert rows(n_ctx=64).shape == (2, 64)
    with pytest.raises(InputError, match="the model knows 97 tokens only"):
        rows(d_vocab=97)


def test_token_texts(
    byte_level: PreTrainedTokenizerFast, sentence_piece: PreTrainedTokenizerFast
) -> None:
    for tokenizer in (byte_level, sentence_piece):
        tokens = np.array([tokenizer("the value of the", add_special_tokens=False)["input_ids"]])
        texts = token_texts(tokens, tokenizer)
        assert texts.shape == tokens.shape
        assert "".join(texts[0]).lstrip() == "the value of the"
        assert texts[0, -1].startswith(" ")
    assert token_texts(np.array([0, 9999]), byte_level).tolist() == ["<s>", ""]
    half = byte_level("é", add_special_tokens=False)["input_ids"][:1]
    assert re.fullmatch("\ufffd|é", token_texts(np.array(half), byte_level)[0])


# A random sample of the rows, and the documents that they are of.


def lines(path: Path, *texts: str) -> str:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return str(path)


@pytest.fixture
def letters(tmp_path: Path) -> str:
    """Nine documents of a letter each, "a" once to "i" nine times ten."""
    return lines(tmp_path / "a.jsonl", *(10 * n * chr(96 + n) for n in range(1, 10)))


def sampled(corpus: str, n: int, **choices: object) -> Text:
    tokenizer = families.character_tokenizer(prepend_bos=True)
    chosen = {"n_sequences": n, "sequence_length": 6, **choices}
    return token_sequences(corpus, tokenizer, **chosen)  # type: ignore[arg-type]


def in_order(text: Text) -> list[list[list[int]]]:
    return sorted(np.stack([text.tokens, text.documents], axis=1).tolist())


def test_a_sample_is_of_the_corpus_own_rows_each_once(letters: str) -> None:
    every = sampled(letters, 91, sample="head")
    drawn = sampled(letters, 91)
    assert drawn.tokens.tolist() != every.tokens.tolist()
    assert in_order(drawn) == in_order(every)
    assert drawn.drawn_from == "all 91 sequences of 9 documents"
    assert every.drawn_from == "the first 91 sequences, of 9 documents"


def test_a_larger_sample_begins_with_the_smaller_one(letters: str) -> None:
    small, large = sampled(letters, 7), sampled(letters, 30)
    np.testing.assert_array_equal(small.tokens, large.tokens[:7])
    np.testing.assert_array_equal(small.documents, large.documents[:7])
    other = sampled(letters, 7, seed=1)
    assert small.tokens.tolist() != other.tokens.tolist()


def test_each_row_is_drawn_equally_often(letters: str) -> None:
    rows = [sampled(letters, 9, seed=seed).documents[:, 1:].ravel() for seed in range(200)]
    shares = np.bincount(np.concatenate(rows), minlength=9) / (200 * 9 * 5)
    tokens = 10 * np.arange(1, 10) + np.array([1] * 8 + [0])  # a separator ends its document
    np.testing.assert_allclose(shares, tokens / tokens.sum(), atol=0.02)


def test_a_token_is_of_its_document(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "a.jsonl", "aab", "cc", "", "baa")
    text = sampled(corpus, 3, sequence_length=4, sample="head")
    # the stream: a a b </s> c c </s> </s> b a a
    assert text.documents.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 2, 3]]
    assert text.names == {0: "line 1", 1: "line 2", 2: "line 3", 3: "line 4"}


def test_a_large_corpus_is_read_as_far_as_the_pool(
    letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "POOL_TOKENS", 6 * 50)
    assert sampled(letters, 3).drawn_from == "the first 50 sequences, of 7 documents"
    assert sampled(letters, 9).drawn_from == "the first 90 sequences, of 9 documents"


def test_a_streamed_data_set_is_shuffled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def documents(corpus: str, column: str | None, shuffle_seed: int | None):  # type: ignore[no-untyped-def]
        asked.append(shuffle_seed)
        return (Document(f"shuffled row {i}", (100 * "a",)) for i in range(10**9))

    monkeypatch.setattr(corpus, "text_documents", documents)
    monkeypatch.setattr(corpus, "POOL_TOKENS", 6 * 50)
    text = sampled("owner/texts", 3, seed=5)
    assert asked == [5]
    assert text.drawn_from == "the first 50 sequences, of 3 documents, shuffled 10,000 at a time"
    sampled("owner/texts", 3, sample="head")
    assert asked == [5, None]
