"""Bad files as data: how a text or a model is made bad, and what the line that answers it says."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.hostile.bad_inputs import HUGE


def text(content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def parquet(columns: dict[str, Any]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path)

    return write


LINES = '{"text": "a"}\n' * 3
CORPORA: dict[str, tuple[str, Callable[[Path], object], list[str], str]] = {
    "empty text": ("t.txt", text(""), [], "is empty"),
    "text in Latin-1": (
        "t.txt",
        text("Bär ".encode("latin-1") * 99),
        [],
        "not UTF-8: byte 1 is 0xe4",
    ),
    "text in UTF-16": (
        "t.txt",
        text("text ".encode("utf-16") * 99),
        [],
        "not UTF-8: byte 0 is 0xff",
    ),
    "text cut in a character": ("t.txt", text(b"ab\xe2\x82"), [], "not UTF-8: byte 2 is 0xe2"),
    "text that is bad in its second block": (
        "t.txt",
        text(b"x" * 262_143 + b"\xe2\x28"),
        [],
        "not UTF-8: byte 262143 is 0xe2",
    ),
    "a folder named as text": ("t.txt", lambda path: path.mkdir(), [], "is a folder"),
    "a pipe": ("t.txt", os.mkfifo, [], "a pipe or a device"),
    "a link to itself": ("t.txt", lambda path: path.symlink_to(path), [], "t.txt"),
    "another kind of file": ("t.docx", text("text"), [], r"no kind that is known\. Accepted are"),
    "an empty list of lines": ("t.jsonl", text(""), [], "is empty"),
    "lines that are cut off": (
        "t.jsonl",
        text('{"text": "a"}\n{"text": '),
        [],
        "line 2 is not JSON",
    ),
    "lines that are not UTF-8": (
        "t.jsonl",
        text(b'{"a": "b"}\n"\xff"'),
        [],
        "not UTF-8: byte 12 is 0xff",
    ),
    "lines that are lists": ("t.jsonl", text('["a"]\n'), [], "line 1 is not a JSON object"),
    "lines that are numbers": ("t.jsonl", text("1\n2\n"), [], "not a JSON object"),
    "100,000 brackets": ("t.jsonl", text("[" * 100_000), [], "line 1 is not JSON"),
    "100,000 braces": ("t.jsonl", text('{"text":' * 100_000), [], "line 1 is not JSON"),
    "a number of 9,999 digits": ("t.jsonl", text('{"n": ' + "9" * 9999 + "}"), [], "not JSON"),
    "no column of text": ("t.jsonl", text('{"n": 1}\n' * 9), [], "no column 'text'"),
    "two columns of text": (
        "t.jsonl",
        text('{"title": "a", "body": "b", "n": 1}\n'),
        [],
        r"no column 'text', .* are title, body, n\. Name .*--text-column",
    ),
    "a column that is not there": (
        "t.jsonl",
        text(LINES),
        ["--text-column", "n"],
        "the column 'n' is not there; its columns are text",
    ),
    "a line without the column": (
        "t.jsonl",
        text('{"text": "b"}\n{"title": "c"}\n'),
        [],
        "line 2: the column 'text' is not there; its columns are title",
    ),
    "text that is a number": ("t.jsonl", text('{"text": "a"}\n{"text": 5}\n'), [], "not text"),
    "text that is nothing": ("t.jsonl", text('{"text": "a"}\n{"text": null}\n'), [], "not text"),
    "text that is a list": (
        "t.jsonl",
        text('{"text": "a"}\n{"text": ["b"]}\n'),
        [],
        "lists, not text",
    ),
    "half a character": ("t.jsonl", text('{"text": "a \\ud800 b"}\n'), [], "half a character"),
    "broken Parquet": ("t.parquet", text("PAR1 no"), [], "cannot be read as Parquet"),
    "empty Parquet": ("t.parquet", text(""), [], "is empty"),
    "Parquet without text": ("t.parquet", parquet({"n": [1, 2]}), [], "no column 'text'"),
    "Parquet with two columns of text": (
        "t.parquet",
        parquet({"title": ["a"], "body": ["b"], "n": [1]}),
        [],
        r"no column 'text', .* are title, body, n\. Name",
    ),
    "Parquet without the column": (
        "t.parquet",
        parquet({"title": ["a"], "body": ["b"]}),
        ["--text-column", "x"],
        "column 'x' is not there; .* title, body",
    ),
    "Parquet of numbers": (
        "t.parquet",
        parquet({"n": [1], "text": ["a"]}),
        ["--text-column", "n"],
        "the column 'n' holds int64, not text",
    ),
    "Parquet of lists": (
        "t.parquet",
        parquet({"l": [["a"]], "text": ["a"]}),
        ["--text-column", "l"],
        "not text",
    ),
    "Parquet of bytes": (
        "t.parquet",
        parquet({"b": [b"a"], "text": ["a"]}),
        ["--text-column", "b"],
        "holds binary, not text",
    ),
    "Parquet without rows": ("t.parquet", parquet({"text": [""][:0]}), [], "t.parquet"),
    "Parquet with too little": ("t.parquet", parquet({"text": ["a"]}), [], "Two are the least"),
}


def config(**changes: Any) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def file(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda model: text(content)(model / name)


def without(pattern: str) -> Callable[[Path], object]:
    def remove(model: Path) -> None:
        for path in model.glob(pattern):
            path.unlink()

    return remove


def index(weight_map: Any) -> Callable[[Path], object]:
    def write(model: Path) -> None:
        (model / "model.safetensors").unlink()
        content = json.dumps({"metadata": {}, "weight_map": weight_map})
        (model / "model.safetensors.index.json").write_text(content)

    return write


def header(content: str | bytes, size: int | None = None) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    length = struct.pack("<Q", len(data) if size is None else size)
    return file("model.safetensors", length + data + b"\0" * 64)


def cut_off(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def weight(part: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    """A change of the first weight whose name has that part; it is left out where that is None."""

    def write(model: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(model / "model.safetensors")
        name = next(name for name in weights if part in name)
        changed = change(weights.pop(name))
        weights |= {} if changed is None else {name: changed}
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})

    return write


def poison(number: str) -> Callable[[Any], Any]:
    return lambda weight: weight.index_fill(0, weight.new_tensor([2]).long(), float(number))


def as_pickle(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"hello")


TENSOR = '{"x": {"dtype": "F32", "shape": [1], "data_offsets": [%s, %s]}}'
MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (without("config.json"), "has no config.json"),
    "an empty configuration": (file("config.json", ""), "is not JSON"),
    "a configuration cut off": (file("config.json", "{"), "is not JSON"),
    "a configuration that is a list": (file("config.json", "[]"), "not a JSON object"),
    "a configuration of 100,000 brackets": (file("config.json", "[" * 100_000), "is not JSON"),
    "a configuration of half characters": (file("config.json", b'{"a": "\xff"}'), "is not JSON"),
    "a configuration of nothing": (file("config.json", "{}"), "configuration"),
    "no layer": (config(n_layer=0), "num_hidden_layers 0"),
    "ten million layers": (config(n_layer=10_000_000), "a model has 1 to"),
    "fewer than no layers": (config(n_layer=-1), "num_hidden_layers -1"),
    "layers of 23 digits": (config(n_layer=int(HUGE)), "a model has 1 to"),
    "layers in words": (config(n_layer="three"), "n_layer"),
    "layers that are null": (config(n_layer=None), "n_layer"),
    "layers that are a list": (config(n_layer=[]), "n_layer"),
    "no head at all": (config(n_head=0), "num_attention_heads 0"),
    "heads below nothing": (config(n_head=-4), "num_attention_heads -4"),
    "ten million heads": (config(n_head=10_000_000), "a model has 1 to"),
    "heads that do not divide the width": (config(n_head=5), "weights"),
    "no width": (config(n_embd=0), "hidden_size 0"),
    "a width of 23 digits": (config(n_embd=int(HUGE)), "a model has 1 to"),
    "another width": (config(n_embd=64), "shapes that its config.json says"),
    "more layers than weights": (config(n_layer=4), "are missing"),
    "no vocabulary": (config(vocab_size=0), "vocab_size 0"),
    "a vocabulary of 23 digits": (config(vocab_size=int(HUGE)), "a model has 1 to"),
    "an unknown architecture": (
        config(model_type="no-such", architectures=["NoSuch"]),
        "read the configuration",
    ),
    "an unknown type": (config(model_type="no-such"), "read the configuration"),
    "an encoder": (config(model_type="bert", architectures=["BertModel"]), "decoder-only"),
    "code of its own": (
        config(auto_map={"AutoConfig": "evil.Config"}, model_type="evil"),
        "own code are not run",
    ),
    "nothing": (without("*"), "no config.json"),
    "no weights": (without("*.safetensors"), "has no weights: neither"),
    "GGUF alone": (
        lambda model: (model / "model.safetensors").rename(model / "model.gguf"),
        r"has no weights.*model\.gguf is GGUF",
    ),
    "NaN in the weights": (
        weight("h.1.attn.c_attn.weight", poison("nan")),
        r"NaN or infinite numbers, first in transformer\.h\.1\.attn\.c_attn\.weight",
    ),
    "infinity in the weights": (
        weight("h.2.ln_1.bias", poison("inf")),
        r"first in transformer\.h\.2\.ln_1\.bias",
    ),
    "a weight missing": (
        weight("h.1.attn.c_attn.weight", lambda _: None),
        r"incomplete: 1 are missing.*h\.1\.attn\.c_attn\.weight",
    ),
    "a weight of another shape": (
        weight("wte", lambda weight: weight[:50].clone()),
        "shapes that its config.json says",
    ),
    "pickled garbage": (as_pickle, "cannot load the weights"),
    "weights cut off": (cut_off, "broken or incomplete"),
    "empty weights": (file("model.safetensors", ""), "broken or incomplete"),
    "weights that are text": (file("model.safetensors", "text " * 99), "broken or incomplete"),
    "weights that are a placeholder": (
        file("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
        "placeholder of git-lfs.*git lfs pull",
    ),
    "a header of 2^63 bytes": (header("{}", 2**63), "broken or incomplete"),
    "a header of nothing": (header("{}"), "broken or incomplete"),
    "a header that is a list": (header("[]"), "broken or incomplete"),
    "a header of 100,000 brackets": (header("[" * 100_000), "broken or incomplete"),
    "a tensor below the file": (header(TENSOR % (-64, 64)), "weights"),
    "a tensor beyond the file": (header(TENSOR % (0, 2**62)), "broken or incomplete"),
    "a tensor of words": (header(TENSOR % ('"a"', '"b"')), "broken or incomplete"),
    "an index that is a list": (index([]), "does not say which file"),
    "an index of numbers": (index({"a": 1}), "does not say which file"),
    "an index of nothing": (index({}), "lacks"),
    "an index that is null": (index(None), "does not say which file"),
    "an index that leads out": (index({"a": "../../../etc/passwd"}), "does not say which file"),
    "an index that leads anywhere": (index({"a": "/etc/passwd"}), "does not say which file"),
    "an index of files that are not there": (index({"a": "no.safetensors"}), "lacks 1 of 1"),
    "no tokenizer": (without("tokenizer*"), "has no tokenizer"),
    "a tokenizer's settings alone": (without("tokenizer.json"), "has no tokenizer"),
    "an empty tokenizer": (file("tokenizer.json", ""), "load the tokenizer"),
    "a tokenizer of nothing": (file("tokenizer.json", "{}"), "load the tokenizer"),
    "a tokenizer that is a list": (file("tokenizer.json", "[]"), "load the tokenizer"),
    "a tokenizer of 100,000 brackets": (
        file("tokenizer.json", "[" * 100_000),
        "load the tokenizer",
    ),
    "a tokenizer that is text": (file("tokenizer.json", "text"), "load the tokenizer"),
}
