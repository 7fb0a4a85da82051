"""Settings files that let stock clients open an export.

The clients are transformers, diffusers and sentence-transformers. Each function returns one JSON
file as plain data. Nothing here touches weights: their names are the stock names already.
"""

from typing import Any

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.models.diffusion_head import ROPE_THETA, DiffusionHead
from tgp_multimodal.models.networks import PROMPT_TOKENS
from tgp_multimodal.models.text_transformer import TextTransformer

Settings = dict[str, Any]


def qwen3(
    text: TextTransformer, tokenizer: Tokenizer, architecture: str, is_causal: bool
) -> Settings:
    """`config.json` of `transformers.Qwen3Config`.

    `is_causal` must stand in the file: transformers >= 5.2 reads it there, and
    `from_pretrained(..., is_causal=False)` raises.
    """
    return {
        "architectures": [architecture],
        "model_type": "qwen3",
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "intermediate_size": text.feed_forward,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "num_key_value_heads": text.key_value_heads,
        "head_dim": text.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": text.context,
        "initializer_range": 0.02,
        "rms_norm_eps": text.norm.eps,
        "rope_theta": text.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": text.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_cache": is_causal,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "is_causal": is_causal,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
        "dtype": "float32",
    }


def generation(text: TextTransformer, tokenizer: Tokenizer) -> Settings:
    """`generation_config.json`: writing stops at EOS; ids that are no text are never written."""
    return {
        "suppress_tokens": tokenizer.unwritable(text.vocabulary),
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
    }


def pipeline(head: DiffusionHead) -> Settings:
    """`model_index.json` of `diffusers.PRXPixelPipeline`."""
    return {
        "_class_name": "PRXPixelPipeline",
        "_diffusers_version": "0.39.0",
        "default_sample_size": head.size,
        "noise_scale": 1.0,
        "prompt_max_tokens": PROMPT_TOKENS,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "PRXTransformer2DModel"],
    }


def scheduler() -> Settings:
    """`scheduler_config.json`: Euler steps on the grid of `diffusion.samplers.euler_times`."""
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.39.0",
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
    }


def prx(head: DiffusionHead) -> Settings:
    """`config.json` of `diffusers.PRXTransformer2DModel`."""
    return {
        "_class_name": "PRXTransformer2DModel",
        "_diffusers_version": "0.39.0",
        "in_channels": 3,
        "patch_size": head.patch,
        "context_in_dim": head.text_width,
        "hidden_size": head.width,
        "mlp_ratio": head.feed_forward_ratio,
        "num_heads": head.heads,
        "depth": head.depth,
        "axes_dim": [head.head_size // 2] * 2,
        "theta": int(ROPE_THETA),
        "time_factor": 1000.0,
        "time_max_period": 10000,
    }


def sentence_modules() -> list[Settings]:
    """`modules.json` of sentence-transformers: bidirectional encoder, mean over its tokens."""
    return [
        {
            "idx": 0,
            "name": "0",
            "path": "encoder",
            "type": "sentence_transformers.models.Transformer",
        },
        {
            "idx": 1,
            "name": "1",
            "path": "pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]


def sentence_encoder(text: TextTransformer) -> Settings:
    """`sentence_bert_config.json`: where sentence-transformers cuts a text."""
    return {"max_seq_length": text.context, "do_lower_case": False}


def sentence_pooling(text: TextTransformer) -> Settings:
    """`config.json` of the pooling, with the keys that every release since 2 reads."""
    return {
        "word_embedding_dimension": text.width,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
