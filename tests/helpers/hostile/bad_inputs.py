"""Bad input as data: what is bad, how it is given, and a word of the line that must answer it.

`OPTIONS` are arguments of `selfrepair run` on a good model and text; `COMMANDS` are whole commands;
bad texts and models are in `bad_files.py`. {model}, {text} and {folder} are
filled in by the test.
"""

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
    "an unknown precision": (["--precision", "fp8"], "fp32, tf32, bf16"),
    "no precision": (["--precision", ""], "fp32, tf32, bf16"),
    "a precision that a CPU does not have": (
        ["--precision", "tf32", "--device", "cpu"],
        "cpu has no TF32",
    ),
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
    "publish with an option that is gone": (["publish", "--facts", "external"], "--facts"),
    **{
        f"{command} a name of {what}": ([command, name, "--output", "{folder}/new"], word)
        for command in ("export", "pack")
        for what, (name, _, word) in NAMES.items()
    },
    "pack what is not published": (["pack", "{model}", "--output", "{folder}"], "not published"),
    "pack without a file": (["pack", "{model}"], "--output"),
}
