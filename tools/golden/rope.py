"""Rotary tables of published configs as transformers computes them, for tests/golden/rope.json."""
import copy
import math

import numpy as np
import torch
from transformers import AutoConfig
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention, DeepseekV2RotaryEmbedding
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

POSITIONS = [0, 1, 2, 17, 511, 4095, 4096, 20000, 163839]
YARN = dict(type="yarn", factor=40, beta_fast=32, beta_slow=1, original_max_position_embeddings=4096)
MLA = dict(qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, kv_lora_rank=512, rope_theta=10000.0)
PUBLISHED = {
    "deepseek-v3-671b": (dict(model_type="deepseek_v3", hidden_size=7168, num_attention_heads=128,
                              num_key_value_heads=128, q_lora_rank=1536, max_position_embeddings=163840,
                              rope_scaling=YARN | dict(mscale=1.0, mscale_all_dim=1.0)) | MLA,
                         DeepseekV3RotaryEmbedding, DeepseekV3Attention),
    "deepseek-v2-lite": (dict(model_type="deepseek_v2", hidden_size=2048, num_attention_heads=16,
                              num_key_value_heads=16, q_lora_rank=None, max_position_embeddings=163840,
                              rope_scaling=YARN | dict(mscale=0.707, mscale_all_dim=0.707)) | MLA,
                         DeepseekV2RotaryEmbedding, DeepseekV2Attention),
    "llama-3.1-8b": (dict(model_type="llama", hidden_size=4096, num_attention_heads=32, num_key_value_heads=8,
                          max_position_embeddings=131072, rope_theta=500000.0,
                          rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                            original_max_position_embeddings=8192)),
                     LlamaRotaryEmbedding, None),
    "gpt-oss-20b": (dict(model_type="gpt_oss", hidden_size=2880, num_attention_heads=64, num_key_value_heads=8,
                         head_dim=64, max_position_embeddings=131072, rope_theta=150000.0,
                         rope_scaling=dict(rope_type="yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0,
                                           truncate=False, original_max_position_embeddings=4096)),
                    GptOssRotaryEmbedding, None),
}


def shortest(values) -> list:
    """f32 values as the shortest decimals that read back to the same f32."""
    array = np.asarray(values, dtype=np.float32)
    return [shortest(row) for row in array] if array.ndim > 1 else [float(str(v)) for v in array]


def softmax_scale(config) -> float:
    """What DeepSeek's own code multiplies scores with: d^-0.5 (0.1 mscale_all_dim ln factor + 1)^2."""
    scale = config.qk_head_dim ** -0.5
    scaling = config.rope_parameters
    if scaling["rope_type"] == "yarn" and scaling.get("mscale_all_dim"):
        scale *= (0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1) ** 2
    return scale


def check_softmax_scale(attention, config) -> None:
    """Some transformers versions left YaRN's factor out of V2's softmax scale; refuse those."""
    assert abs(attention.scaling / softmax_scale(config) - 1) < 1e-12, "this transformers scales attention wrongly"


def table(name: str) -> dict:
    settings, rotary_class, attention_class = PUBLISHED[name]
    config = AutoConfig.for_model(**copy.deepcopy(settings))  # it writes into rope_scaling
    rotary = rotary_class(config)
    positions = torch.tensor([POSITIONS])
    out = rotary(torch.zeros(1), positions)
    cos, sin = (out.real, out.imag) if torch.is_tensor(out) else out
    pairs = rotary.inv_freq.shape[0]  # some classes return the pairs twice
    scaling = config.rope_parameters
    result = {"config": settings, "rope_dimensions": 2 * pairs, "inv_freq": shortest(rotary.inv_freq),
              "cos_sin_factor": rotary.attention_scaling}
    if scaling["rope_type"] == "yarn":  # the angle is position * inv_freq rounded to f32: matters far out
        result |= {"positions": POSITIONS, "cos": shortest(cos[0, :, :pairs]), "sin": shortest(sin[0, :, :pairs])}
    if attention_class:
        with torch.device("meta"):
            attention = attention_class(config, 0)
        check_softmax_scale(attention, config)
        result["softmax_scale"] = attention.scaling
    if scaling["rope_type"] == "yarn":
        rotations = lambda n: (2 * pairs * math.log(4096 / (n * 2 * math.pi))) / (2 * math.log(scaling["rope_theta"]))
        result["yarn_low_high_before_rounding"] = [rotations(32), rotations(1)]
    return result


def tables() -> dict:
    return {name: table(name) for name in PUBLISHED}
