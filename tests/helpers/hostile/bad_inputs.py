"""Bad input as data: what is bad, how it is given, and a word of the line that must answer it.

`OPTIONS` are arguments of `selfrepair run` on a good model and text; `COMMANDS` are whole commands;
`CORPORA` and `MODELS` make a bad file or folder and name it. {model}, {text} and {folder} are
filled in by the test.
"""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

HUGE = "99999999999999999999999"  # 23 digits
LONG = "x" * 5000
COMPONENT = "y" * 300  # longer than a file system takes for one name

NUMBERS = (
    "--tokens",
    "--sequence-length",
    "--shard-sequences",
    "--reinforcement-sequences",
    "--seed",
    "--batch-size",
)

OPTIONS: dict[str, tuple[list[str], str]] = {
    # Numbers: of 23 digits, superscripts, words, nothing, below one.
    **{f"{name} of 23 digits": ([name, HUGE], "beyond any run") for name in NUMBERS},
    **{f"{name} minus 23 digits": ([name, "-" + HUGE], "-") for name in NUMBERS},
    **{f"{name} squared": ([name, "²"], name) for name in NUMBERS},
    **{f"{name} is empty": ([name, ""], name) for name in NUMBERS},
    **{f"{name} is a word": ([name, "many"], name) for name in NUMBERS},
    **{f"{name} is a fraction": ([name, "1.5"], name) for name in NUMBERS},
    "too few tokens for two sequences": (["--tokens", "31"], "resampling needs two"),
    "no tokens": (["--tokens", "0"], "resampling needs two"),
    "fewer than no tokens": (["--tokens", "-5"], "resampling needs two"),
    "more text than there is": (["--tokens", "9000000"], "Use --tokens"),
    "far more text than there is": (["--tokens", "999999999999"], "Use --tokens"),
    "sequences of one token": (["--sequence-length", "1"], "predict nothing"),
    "sequences of no token": (["--sequence-length", "0"], "predict nothing"),
    "longer than the context": (["--tokens", "300", "--sequence-length", "65"], "64"),
    "far longer than the context": (["--tokens", "99999", "--sequence-length", "9999"], "64"),
    "a batch of nothing": (["--batch-size", "0"], "batch"),
    "a batch below nothing": (["--batch-size", "-1"], "batch"),
    "a shard of nothing": (["--shard-sequences", "0"], "shard-sequences"),
    "fed on nothing": (["--reinforcement-sequences", "0"], "reinforcement-sequences"),
    "a share of nothing": (["--top-fraction", "0"], "top-fraction"),
    "a share above one": (["--top-fraction", "2"], "top-fraction"),
    "a share below nothing": (["--top-fraction", "-0.1"], "top-fraction"),
    "a share that is no number": (["--top-fraction", "nan"], "top-fraction"),
    "a share without end": (["--top-fraction", "inf"], "top-fraction"),
    "a share in words": (["--top-fraction", "half"], "top-fraction"),
    # Scales.
    "a scale that is no number": (["--reinforcement-scales", "nan"], "finite number"),
    "a scale without end": (["--reinforcement-scales", "inf"], "finite number"),
    "a scale beyond 32 bits": (["--reinforcement-scales", "1e39"], "finite number"),
    "a scale twice": (["--reinforcement-scales", "1,1"], "none is there twice"),
    "a scale twice in 32 bits": (["--reinforcement-scales", "1,1.00000000001"], "twice"),
    "no scale": (["--reinforcement-scales", ""], "one number at least"),
    "only commas": (["--reinforcement-scales", ",,"], "one number at least"),
    "a scale in words": (["--reinforcement-scales", "1,two"], "numbers, as in"),
    "a scale squared": (["--reinforcement-scales", "²"], "numbers, as in"),
    # Layers and heads.
    "a layer that is not there": (["--layers", "3:5"], "layers 0 to 2"),
    "a layer far away": (["--layers", HUGE], "layers 0 to 2"),
    "a layer below": (["--layers", "-1"], "layers 0 to 2"),
    "layers of three parts": (["--layers", "1:2:3"], "choice of layers"),
    "layers in words": (["--layers", "all"], "choice of layers"),
    "a layer squared": (["--layers", "²"], "choice of layers"),
    "layers that are none": (["--layers", "2:1"], "layers 0 to 2"),
    "a head that is not there": (["--heads", "L1H4"], "heads 0 to 3"),
    "a head far away": (["--heads", f"L{HUGE}H0"], "There is no head"),
    "no head": (["--heads", "L1"], "L10H11"),
    "a head squared": (["--heads", "L²H1"], "L10H11"),
    "only a comma": (["--heads", ","], "names no head"),
    "a head of another layer": (["--layers", "0", "--heads", "L1H1"], "not among those"),
    "neurons of a head that is not ablated": (
        ["--heads", "L1H1", "--neuron-heads", "L0H0"],
        "L0H0",
    ),
    "neurons of no head": (["--neuron-heads", "L1"], "L10H11"),
    "neurons of a head that is not there": (["--neuron-heads", "L9H9"], "There is no head"),
    "layers fed that are not there": (["--reinforcement-layers", "7"], "layers 0 to 2"),
    "layers fed in words": (["--reinforcement-layers", "upper"], "choice of layers"),
    # Names from a list.
    "an unknown ablation": (["--ablations", "resample,noise"], "noise"),
    "no ablation": (["--ablations", ""], "resample, mean, zero"),
    "only commas of ablations": (["--ablations", ",,"], "resample, mean, zero"),
    "an ablation in capitals": (["--ablations", "RESAMPLE"], "resample, mean, zero"),
    "an unknown precision": (["--precision", "fp8"], "fp32, bf16"),
    "no precision": (["--precision", ""], "fp32, bf16"),
    "an unknown device": (["--device", "tpu"], "tpu"),
    "no device": (["--device", ""], "device"),
    "a device of odd words": (["--device", "cuda:x"], "cuda:x"),
    "an unknown option": (["--tokenz", "9"], "--tokenz"),
    "an option without its value": (["--tokens"], "--tokens"),
    # Names: long, of several lines, of half characters.
    **{
        f"{name} of 5,000 characters": ([name, LONG], "5,000 characters")
        for name in ("--corpus", "--text-column", "--layers", "--heads", "--device", "--revision")
    },
    **{
        f"{name} with a line break": ([name, "a\nb"], "cannot be printed")
        for name in ("--corpus", "--text-column", "--layers", "--device", "--revision")
    },
    **{
        f"{name} with half a character": ([name, "a\udcff"], "cannot be printed")
        for name in ("--corpus", "--text-column", "--revision")
    },
    "a corpus with a NUL": (["--corpus", "a\0b"], "cannot be printed"),
    "a corpus with a bell": (["--corpus", "a\ab"], "cannot be printed"),
    "a corpus whose name is too long for a file": (["--corpus", f"./{COMPONENT}.txt"], "cannot be"),
    "no corpus": (["--corpus", ""], "No corpus is named"),
    "a corpus of blanks": (["--corpus", "  "], "No corpus is named"),
    "an unknown corpus": (["--corpus", "no-such-corpus"], "no-such-corpus"),
    "nearly a corpus": (["--corpus", "python-doc"], "Did you mean python-docs"),
    "a path that is not there": (["--corpus", "./no/such.txt"], "such.txt"),
    "an absolute path that is not there": (["--corpus", "/no/such.txt"], "such.txt"),
    "the corpus is a folder": (["--corpus", "{folder}"], "is a folder"),
    "the corpus is below a file": (["--corpus", "{text}/x.txt"], "x.txt"),
    "the corpus is a device": (["--corpus", "/dev/zero"], "a pipe or a device"),
    "a revision of a folder": (["--revision", "main"], "has no revisions"),
}

# Of each bad name, what `run` says of it as a model; `publish` and `delete` of it as a run.
NAMES: dict[str, tuple[str, str, str]] = {
    "nothing": ("", "No model is named", "is empty"),
    "blanks": ("  ", "No model is named", "is empty"),
    "5,000 characters": (LONG, "5,000 characters", "no"),
    "a part that no file system takes": (f"./{COMPONENT}", "cannot be looked for", "no"),
    "two lines": ("a\nb", "cannot be printed", "no"),
    "half a character": ("a\udcff", "cannot be printed", "is no text"),
    "a way out": ("../../../no-such", "There is no folder", "no"),
    "a NUL": ("a\0b", "cannot be printed", "no"),
}

COMMANDS: dict[str, tuple[list[str], str]] = {
    **{f"run a name of {what}": (["run", name], word) for what, (name, word, _) in NAMES.items()},
    **{
        f"{command[0]} a name of {what}": ([command[0], name, *command[1:]], word)
        for command in (["publish"], ["delete", "--yes"])
        for what, (name, _, word) in NAMES.items()
    },
    **{
        f"report a name of {what}": (["report", name], "published")
        for what, (name, _, _) in NAMES.items()
    },
    **{
        f"{command[0]} in a warehouse without a name": ([*command, "--warehouse", ""], "empty text")
        for command in (["status"], ["publish"], ["delete", "x", "--yes"], ["report", "x"])
    },
    **{
        f"{command[0]} in a warehouse below a file": (
            [*command, "--warehouse", "{text}/data"],
            "file",
        )
        for command in (["status"], ["publish"], ["delete", "x", "--yes"])
    },
    "an unknown command": (["measure"], "measure"),
    "run without a model": (["run"], "MODEL"),
    "two models": (["run", "{model}", "{model}"], "unexpected"),
    "a model that is a file": (["run", "{text}"], "is a file"),
    "a model that is not there": (["run", "./no-such-model"], "no folder"),
    "a model below a file": (["run", "{text}/model"], "no folder"),
    "a report into a folder": (["report", "{model}", "--output", "{folder}"], "is a folder"),
    "a report into nothing": (["report", "{model}", "--output", ""], "--output is empty"),
    "a report below nothing": (["report", "{model}", "--output", "{folder}/no/r.html"], "make the"),
    "a report without a run": (["report", "gone"], "nothing is published"),
    "publish as it is not": (["publish", "--facts", "nowhere"], "nowhere"),
}


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
    "text that is not UTF-8": ("t.txt", text("Bär ".encode("latin-1") * 99), [], "not UTF-8"),
    "text in UTF-16": ("t.txt", text("text ".encode("utf-16") * 99), [], "not UTF-8"),
    "a folder named as text": ("t.txt", lambda path: path.mkdir(), [], "is a folder"),
    "a pipe": ("t.txt", os.mkfifo, [], "a pipe or a device"),
    "a link to itself": ("t.txt", lambda path: path.symlink_to(path), [], "t.txt"),
    "another kind of file": ("t.docx", text("text"), [], "no kind that is known"),
    "an empty list of lines": ("t.jsonl", text(""), [], "is empty"),
    "lines that are cut off": (
        "t.jsonl",
        text('{"text": "a"}\n{"text": '),
        [],
        "line 2 is not JSON",
    ),
    "lines that are lists": ("t.jsonl", text('["a"]\n'), [], "not a JSON object"),
    "lines that are numbers": ("t.jsonl", text("1\n2\n"), [], "not a JSON object"),
    "100,000 brackets": ("t.jsonl", text("[" * 100_000), [], "line 1 is not JSON"),
    "100,000 braces": ("t.jsonl", text('{"text":' * 100_000), [], "line 1 is not JSON"),
    "a number of 9,999 digits": ("t.jsonl", text('{"n": ' + "9" * 9999 + "}"), [], "not JSON"),
    "no column of text": ("t.jsonl", text('{"n": 1}\n' * 9), [], "no column 'text'"),
    "two columns of text": ("t.jsonl", text('{"a": "x", "b": "y"}\n'), [], "--text-column"),
    "a column of numbers": ("t.jsonl", text(LINES), ["--text-column", "n"], "is not there"),
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
    "Parquet of numbers": (
        "t.parquet",
        parquet({"n": [1], "text": ["a"]}),
        ["--text-column", "n"],
        "holds int64, not text",
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
    path.write_bytes(path.read_bytes()[:-1000])


def with_nan(model: Path) -> None:
    from transformers import AutoModelForCausalLM

    weights: Any = AutoModelForCausalLM.from_pretrained(model)
    weights.transformer.h[1].mlp.c_fc.weight.data[0, 0] = float("nan")
    weights.save_pretrained(model)


TENSOR = '{"x": {"dtype": "F32", "shape": [1], "data_offsets": [%s, %s]}}'
MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (without("config.json"), "no config.json"),
    "an empty configuration": (file("config.json", ""), "is not JSON"),
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
    "another width": (config(n_embd=64), "shapes"),
    "more layers than weights": (config(n_layer=4), "are missing"),
    "no vocabulary": (config(vocab_size=0), "vocab_size 0"),
    "a vocabulary of 23 digits": (config(vocab_size=int(HUGE)), "a model has 1 to"),
    "an unknown architecture": (config(model_type="no-such", architectures=["NoSuch"]), "config"),
    "an encoder": (config(model_type="bert", architectures=["BertModel"]), "decoder-only"),
    "code of its own": (
        config(auto_map={"AutoConfig": "evil.Config"}, model_type="evil"),
        "configuration",
    ),
    "nothing": (without("*"), "no config.json"),
    "no weights": (without("*.safetensors"), "has no weights"),
    "NaN in the weights": (with_nan, "NaN"),
    "weights cut off": (cut_off, "broken or incomplete"),
    "empty weights": (file("model.safetensors", ""), "broken or incomplete"),
    "weights that are text": (file("model.safetensors", "text " * 99), "broken or incomplete"),
    "weights that are a placeholder": (
        file("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
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
    "no tokenizer": (without("tokenizer*"), "no tokenizer"),
    "an empty tokenizer": (file("tokenizer.json", ""), "tokenizer"),
    "a tokenizer that is a list": (file("tokenizer.json", "[]"), "tokenizer"),
    "a tokenizer of 100,000 brackets": (file("tokenizer.json", "[" * 100_000), "tokenizer"),
    "a tokenizer that is text": (file("tokenizer.json", "text"), "tokenizer"),
}
