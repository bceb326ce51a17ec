"""Small random models of every family, so that a test needs no hub.

``FAMILIES`` are the seven shapes of the paper's models and their kin, ``VARIANTS`` the switches
within them that a real checkpoint may have set, ``MODERN`` the families since, ``FALLBACK_ONLY``
the architectures that only the hooked engine measures, ``EXPERTS`` those whose MLP layers have no
neurons of their own. Every parameter is random, norm weights and all biases included: a model left
as it was initialised has zero biases and unit norms, and would pass with half of the folding
missing. The scales make the attention patterns uneven and one head's ablation worth some tenths of
a logit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Exaone4Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GlmConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    MptConfig,
    NemotronConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)

BOS, EOS = 0, 1
PRINTABLE = [chr(code) for code in range(32, 127)]
D_VOCAB = 2 + len(PRINTABLE)
N_CTX = 64
WINDOW = 5  # shorter than any sequence measured in the tests, so that it cuts

TOKENS: dict[str, Any] = {"vocab_size": D_VOCAB, "bos_token_id": BOS, "eos_token_id": EOS}
_GROUPED: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": N_CTX,
    **TOKENS,
}
_NEOX: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": N_CTX,
    "rotary_pct": 0.25,
    **TOKENS,
}
_GPT2: dict[str, Any] = {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": N_CTX, **TOKENS}
_LLAMA3_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

LAYER_TYPES = ["sliding_attention", "full_attention", "sliding_attention"]
_PADDED = _GROUPED | {"pad_token_id": EOS}
_SLIDING: dict[str, Any] = {"sliding_window": WINDOW, "layer_types": LAYER_TYPES}
_GEMMA: dict[str, Any] = {"head_dim": 8, "query_pre_attn_scalar": 16, **_SLIDING, **_PADDED}
_FALCON: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "alibi": False,
    "bias": False,
    **TOKENS,
}

ConfigOf = Callable[[], PretrainedConfig]

FAMILIES: dict[str, ConfigOf] = {
    "gpt2": lambda: GPT2Config(**_GPT2),
    "gpt_neo": lambda: GPTNeoConfig(
        num_layers=4,
        num_heads=4,
        hidden_size=32,
        attention_types=[[["global", "local"], 2]],
        window_size=WINDOW,
        max_position_embeddings=N_CTX,
        **TOKENS,
    ),
    "opt": lambda: OPTConfig(
        num_hidden_layers=3,
        hidden_size=32,
        ffn_dim=64,
        num_attention_heads=4,
        max_position_embeddings=N_CTX,
        word_embed_proj_dim=32,
        pad_token_id=EOS,
        **TOKENS,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(**_NEOX),
    "llama": lambda: LlamaConfig(**_GROUPED),
    "mistral": lambda: MistralConfig(sliding_window=WINDOW, **_GROUPED),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
}

VARIANTS: dict[str, ConfigOf] = {
    "gpt2_odd_d_head": lambda: GPT2Config(**{**_GPT2, "n_embd": 36}),
    "gpt2_attention_scaled_by_layer": lambda: GPT2Config(
        scale_attn_by_inverse_layer_idx=True, **_GPT2
    ),
    "gpt_neox_sequential": lambda: GPTNeoXConfig(use_parallel_residual=False, **_NEOX),
    "llama_rope_llama3": lambda: LlamaConfig(rope_parameters=dict(_LLAMA3_ROPE), **_GROUPED),
    "llama_biases": lambda: LlamaConfig(attention_bias=True, mlp_bias=True, **_GROUPED),
    "llama_wide_heads": lambda: LlamaConfig(head_dim=12, **_GROUPED),
    "llama_tied": lambda: LlamaConfig(tie_word_embeddings=True, rms_norm_eps=1e-5, **_GROUPED),
    "mistral_without_window": lambda: MistralConfig(sliding_window=None, **_GROUPED),
    "qwen2_window_in_upper_layers": lambda: Qwen2Config(
        use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1, **_GROUPED
    ),
}

MODERN: dict[str, ConfigOf] = {
    "qwen3": lambda: Qwen3Config(head_dim=8, **_PADDED),
    "gemma2": lambda: Gemma2Config(
        attn_logit_softcapping=3.0, final_logit_softcapping=5.0, **_GEMMA
    ),
    "gemma3": lambda: Gemma3TextConfig(
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
        **_GEMMA,
    ),
    "olmo2": lambda: Olmo2Config(**_PADDED),
    "phi3": lambda: Phi3Config(sliding_window=WINDOW, **_PADDED),
    "gemma": lambda: GemmaConfig(head_dim=8, **_PADDED),
    "smollm3": lambda: SmolLM3Config(no_rope_layer_interval=2, **_PADDED),
    "olmo": lambda: OlmoConfig(**_PADDED),
    "olmo3": lambda: Olmo3Config(**_SLIDING, **_PADDED),
    "starcoder2": lambda: Starcoder2Config(sliding_window=WINDOW, **_PADDED),
    "stablelm": lambda: StableLmConfig(use_qkv_bias=True, **_PADDED),
    "stablelm_parallel": lambda: StableLmConfig(
        qk_layernorm=True, use_parallel_residual=True, **_PADDED
    ),
    "glm": lambda: GlmConfig(head_dim=8, attention_bias=True, **_PADDED),
    "glm4": lambda: Glm4Config(head_dim=8, attention_bias=True, **_PADDED),
    "cohere": lambda: CohereConfig(logit_scale=0.25, **_PADDED),
    "cohere_qk_norm": lambda: CohereConfig(logit_scale=0.25, use_qk_norm=True, **_PADDED),
    "granite": lambda: GraniteConfig(
        embedding_multiplier=3.0,
        residual_multiplier=0.5,
        attention_multiplier=0.25,
        logits_scaling=2.0,
        **_PADDED,
    ),
    "falcon": lambda: FalconConfig(**_FALCON),
    "falcon_grouped": lambda: FalconConfig(
        new_decoder_architecture=True, num_kv_heads=2, **_FALCON
    ),
    "falcon_sequential": lambda: FalconConfig(
        **_FALCON | {"multi_query": False, "parallel_attn": False, "bias": True}
    ),
    "falcon_alibi": lambda: FalconConfig(
        **_FALCON | {"multi_query": False, "parallel_attn": False, "bias": True, "alibi": True}
    ),
    "mpt": lambda: MptConfig(n_layers=3, n_heads=4, d_model=32, max_seq_len=64, **TOKENS),
    "exaone4": lambda: Exaone4Config(**_SLIDING, **_PADDED),
    "gptj": lambda: GPTJConfig(rotary_dim=4, **_GPT2),
    "bloom": lambda: BloomConfig(n_layer=3, n_head=4, hidden_size=32, **TOKENS),
}

FALLBACK_ONLY: dict[str, ConfigOf] = {
    "phi": lambda: PhiConfig(**{**_GROUPED, "num_key_value_heads": 4}),
    "nemotron": lambda: NemotronConfig(**_GROUPED),
    "nemotron_biases": lambda: NemotronConfig(attention_bias=True, mlp_bias=True, **_GROUPED),
}

EXPERTS: dict[str, ConfigOf] = {
    "gpt_oss": lambda: GptOssConfig(  # whose attention gives a share of each row to nothing
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=WINDOW,
        layer_types=LAYER_TYPES,
        pad_token_id=EOS,
        **_GROUPED,
    ),
    "mixtral": lambda: MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **_GROUPED),
}

POST_NORM = ("gemma2", "gemma3", "olmo2", "olmo3", "glm4", "exaone4")
"""Those with a norm between the attention and the residual stream."""
ALL = {**FAMILIES, **VARIANTS, **MODERN, **FALLBACK_ONLY}


def random_model(name: str, seed: int = 0) -> PreTrainedModel:
    """The model ``name`` of ``ALL`` with every parameter drawn anew; fp32, eager attention."""
    config = (ALL | EXPERTS)[name]()
    model = AutoModelForCausalLM.from_config(
        config,
        dtype=torch.float32,
        # Eager, but for Falcon, whose eager attention counts ALiBi twice in this transformers.
        attn_implementation="sdpa" if name == "falcon_alibi" else "eager",
        experts_implementation="eager",
    )
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter: Tensor, mean: float, spread: float) -> None:
        parameter.data = mean + spread * torch.randn(parameter.shape, generator=generator)

    # GPT-Neo does not divide its attention scores by sqrt(d_head): the same weights would give it
    # patterns that look at one token only.
    score_scale = 8**-0.25 if name == "gpt_neo" else 1.0
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            is_matrix = parameter_name == "weight" and not isinstance(module, nn.Embedding)
            if "Norm" in type(module).__name__:
                normal(parameter, unit_weight(module) if parameter_name == "weight" else 0.0, 0.3)
            elif not is_matrix or module_name == "lm_head":  # which may be the embedding
                normal(parameter, 0.0, 0.3)
            elif module_name.endswith(("q_proj", "k_proj")):
                normal(parameter, 0.0, 0.2 * score_scale)
            else:
                normal(parameter, 0.0, 0.2)
    return model.eval()


def unit_weight(norm: nn.Module) -> float:
    """The weight with which a norm scales nothing: 0 where it stores what is added to 1."""
    name = type(norm).__name__
    return 0.0 if name.endswith("1P") or name.startswith("Gemma") else 1.0


def random_tokens(n_sequences: int, length: int, *, seed: int = 0, bos: bool = False) -> Tensor:
    """[sequence pos] int64 token ids, uniform over the printable ones; ``bos`` puts BOS first."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, D_VOCAB, (n_sequences, length), generator=generator)
    if bos:
        tokens[:, 0] = BOS
    return tokens


def character_tokenizer(*, prepend_bos: bool) -> PreTrainedTokenizerFast:
    """One token a printable ASCII character; any other character becomes a space."""
    words = ["<s>", "</s>", *PRINTABLE]
    tokenizer = Tokenizer(
        WordLevel({word: index for index, word in enumerate(words)}, unk_token=" ")
    )
    tokenizer.normalizer = normalizers.Replace(Regex("[^ -~]"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if prepend_bos:
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Write model and tokenizer into ``folder`` as ``save_pretrained`` does; returns ``folder``."""
    random_model(name, seed).save_pretrained(folder)
    with_bos = name.startswith(("llama", "mistral", "opt"))
    character_tokenizer(prepend_bos=with_bos).save_pretrained(folder)
    return folder
