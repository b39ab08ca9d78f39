"""The tiny models: HF configs as they are found in the wild, each with what it is there to catch."""

def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


DEEPSEEK = dict(
    hidden_act="silu", hidden_size=32, initializer_range=0.02, max_position_embeddings=128, moe_layer_freq=1,
    num_attention_heads=2, num_key_value_heads=2, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=14,
    kv_lora_rank=12, rms_norm_eps=1e-6, rope_theta=10000.0, vocab_size=50, attention_bias=False,
    attention_dropout=0.0, bos_token_id=0, eos_token_id=1, use_cache=True, torch_dtype="float32",
    first_k_dense_replace=1, intermediate_size=24, moe_intermediate_size=5, n_routed_experts=12)
V3 = DEEPSEEK | dict(
    architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", q_lora_rank=16, n_group=4, topk_group=2,
    num_experts_per_tok=3, n_shared_experts=1, norm_topk_prob=True, routed_scaling_factor=2.5,
    scoring_func="sigmoid", topk_method="noaux_tc", rope_scaling=None, num_hidden_layers=2,
    num_nextn_predict_layers=0, tie_word_embeddings=False)
V2 = DEEPSEEK | dict(
    architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", q_lora_rank=None, n_group=1, topk_group=1,
    num_experts_per_tok=3, n_shared_experts=2, norm_topk_prob=False, routed_scaling_factor=1.0,
    scoring_func="softmax", topk_method="greedy", rope_scaling=None, num_hidden_layers=2, tie_word_embeddings=False)
LLAMA = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=32, intermediate_size=40,
    initializer_range=0.02, max_position_embeddings=128, num_attention_heads=4, num_key_value_heads=2,
    num_hidden_layers=2, rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None, vocab_size=64,
    attention_bias=False, mlp_bias=False, attention_dropout=0.0, bos_token_id=0, eos_token_id=1,
    tie_word_embeddings=False, use_cache=True, torch_dtype="float32")

QWEN = without(LLAMA, "architectures", "model_type", "attention_bias", "mlp_bias", "rope_scaling")
QWEN2 = QWEN | dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", use_sliding_window=False)
QWEN3 = QWEN | dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=12, use_sliding_window=False,
                    attention_bias=False)
MOE = dict(moe_intermediate_size=12, num_experts=8, num_experts_per_tok=3, decoder_sparse_step=1, mlp_only_layers=[])
GPT2 = dict(
    architectures=["GPT2LMHeadModel"], model_type="gpt2", activation_function="gelu_new", n_embd=32, n_head=4,
    n_layer=2, n_positions=64, vocab_size=64, layer_norm_epsilon=1e-5, attn_pdrop=0.0, embd_pdrop=0.0,
    resid_pdrop=0.0, initializer_range=0.02, bos_token_id=0, eos_token_id=1, tie_word_embeddings=True,
    torch_dtype="float32")

GPT_OSS = dict(
    architectures=["GptOssForCausalLM"], model_type="gpt_oss", attention_bias=True, attention_dropout=0.0,
    hidden_act="silu", hidden_size=32, intermediate_size=20, head_dim=16, num_attention_heads=4, num_key_value_heads=2,
    num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2, experts_per_token=2, sliding_window=9,
    initial_context_length=64, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10.0,
    rope_scaling=dict(rope_type="yarn", factor=8.0, beta_fast=4.0, beta_slow=1.0, truncate=False,
                      original_max_position_embeddings=64),
    layer_types=["sliding_attention", "full_attention"], swiglu_limit=7.0, initializer_range=0.02,
    router_aux_loss_coef=0.9, output_router_logits=False, tie_word_embeddings=False, use_cache=True, vocab_size=50,
    bos_token_id=0, eos_token_id=1, torch_dtype="float32")

YARN = dict(type="yarn", factor=40, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0,
            original_max_position_embeddings=16)


# name -> (config, sequence length, what it shows). Seeds follow the order: append only.
# theta 10 with 16 rotary dimensions puts YaRN's ramp inside the few pairs that a tiny head has.
CASES = {
    "v3_full": (V3 | dict(num_hidden_layers=3), 24,
                "q LoRA, sigmoid gate with bias, 4 groups keep 2, renormalised top-3, scale 2.5, one dense layer"),
    "llama_gqa": (LLAMA, 24, "2 key-value heads for 4 heads, untied"),
    "v3_tied": (V3 | dict(q_lora_rank=None, n_group=1, topk_group=1, n_routed_experts=8, n_shared_experts=2,
                          routed_scaling_factor=1.5, norm_topk_prob=False, tie_word_embeddings=True), 24,
                "no q LoRA, no groups, weights not renormalised, 2 shared experts, tied head"),
    "v3_yarn": (V3 | dict(qk_rope_head_dim=16, rope_theta=10.0, rope_scaling=YARN, n_routed_experts=8,
                          max_position_embeddings=640), 40,
                "YaRN past the original context (16): softmax scale times (0.1 ln 40 + 1)^2, cos and sin unscaled"),
    "v3_yarn_ratio": (
        without(V3, "rope_theta", "rope_scaling", "torch_dtype") | dict(
            qk_rope_head_dim=16, n_routed_experts=8, max_position_embeddings=640, dtype="float32",
            rope_parameters=without(YARN, "type") | dict(
                rope_type="yarn", rope_theta=10.0, mscale=1.0, mscale_all_dim=0.5)), 40,
        "YaRN with mscale != mscale_all_dim: cos and sin scaled as well; config as transformers 5 writes it"),
    "v3_halves": (V3 | dict(rope_interleave=False, rms_norm_eps=1e-3, n_routed_experts=8), 24,
                  "rotary pairs (i, i + d/2); rms_norm_eps 1e-3 while q_a_layernorm and kv_a_layernorm keep 1e-6"),
    "v2_grouped": (V2 | dict(topk_method="group_limited_greedy", n_group=4, topk_group=2,
                             routed_scaling_factor=4.0), 24,
                   "softmax gate, group score = maximum, weights not renormalised, scale 4, no q LoRA"),
    "v2_greedy_yarn": (V2 | dict(qk_rope_head_dim=16, rope_theta=10.0, n_routed_experts=8, max_position_embeddings=640,
                                 rope_scaling=YARN | dict(mscale=0.707, mscale_all_dim=0.707)), 40,
                       "softmax gate, plain top-3, YaRN with V2's 0.707 (softmax scale times (0.0707 ln 40 + 1)^2)"),
    "llama31_tied": (LLAMA | dict(
        num_key_value_heads=1, head_dim=16, rope_theta=100.0, tie_word_embeddings=True,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=32)), 48,
                     "Llama 3.1 rope (kept, blended and divided frequencies), head_dim 16 is not hidden / heads, tied"),
    "smollm": (LLAMA | dict(hidden_size=36, num_attention_heads=3, num_key_value_heads=1, rope_theta=100000.0,
                            vocab_size=67, tie_word_embeddings=True), 24,
               "SmolLM2's proportions: 3 heads share 1, tied, odd vocabulary"),
    "llama_bias": (without(LLAMA, "rope_theta", "rope_scaling", "num_key_value_heads", "torch_dtype") | dict(
        attention_bias=True, dtype="float32", rope_parameters=dict(rope_type="default", rope_theta=500.0)), 24,
                   "biases on q, k, v, o; num_key_value_heads left out (= heads); config as transformers 5 writes it"),
    "qwen2": (QWEN2, 24, "biases on q, k and v but not o"),
    "qwen2_window": (QWEN2 | dict(use_sliding_window=True, sliding_window=5, max_window_layers=1, tie_word_embeddings=True,
                                  rope_theta=1000.0), 24,
                     "a window of 5 keys in all layers but the first; tied"),
    "qwen3": (QWEN3, 24, "an RMSNorm over every head of q and k, head_dim that is not hidden / heads"),
    "qwen2_moe": (QWEN2 | MOE | dict(
        architectures=["Qwen2MoeForCausalLM"], model_type="qwen2_moe", shared_expert_intermediate_size=20,
        norm_topk_prob=False, mlp_only_layers=[0], num_hidden_layers=3), 24,
                  "softmax router, weights not renormalised, shared expert behind a sigmoid gate, a dense layer"),
    "qwen3_moe": (QWEN3 | MOE | dict(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", norm_topk_prob=True,
                                     tie_word_embeddings=True), 24,
                  "softmax router, weights renormalised, no shared expert"),
    "mistral_window": (QWEN | dict(architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=7), 24,
                       "a window of 7 keys, shorter than the sequence"),
    "gpt2": (GPT2, 24, "learned positions, LayerNorm, GELU by tanh, q k v in one transposed matrix, tied"),
    "gpt2_untied": (GPT2 | dict(n_inner=40, tie_word_embeddings=False, n_head=2), 24, "n_inner that is not 4 n_embd, untied"),
    "gpt_oss": (GPT_OSS, 104,
                "sinks, a window of 9 in even layers, biases everywhere, top-2 by softmax over the chosen, stacked experts "
                "with gate and up in alternating columns, limit 7, YaRN with unrounded bounds past its original context"),
    "gpt_oss_wide_group": (GPT_OSS | dict(
        num_attention_heads=6, num_key_value_heads=1, head_dim=8, hidden_size=24, intermediate_size=12,
        num_hidden_layers=3, num_local_experts=4, num_experts_per_tok=3, swiglu_limit=1.25, sliding_window=16,
        rope_theta=150000.0, rope_scaling=GPT_OSS["rope_scaling"] | dict(factor=32.0, beta_fast=32.0),
        layer_types=["full_attention", "sliding_attention", "sliding_attention"]), 104,
                           "6 heads share 1, windows in other layers, a limit of 1.25, top-3"),
    "mixtral": (QWEN | dict(architectures=["MixtralForCausalLM"], model_type="mixtral", num_local_experts=4,
                            num_experts_per_tok=2, intermediate_size=20, sliding_window=None), 24,
                "Mixtral's names of experts, weights renormalised over the chosen"),
}

MTP = V3 | dict(n_routed_experts=6, n_group=2, topk_group=1, num_experts_per_tok=2)
MTP_CASES = {
    "mtp_d1": (MTP | dict(num_nextn_predict_layers=1), 24, "one MTP module; copies of embedding and head in the file"),
    "mtp_d2": (MTP | dict(num_nextn_predict_layers=2, num_hidden_layers=1, first_k_dense_replace=1), 20,
               "two MTP modules in a chain"),
}

# openPangu, by the references of pangu.py. Sequences of 104 tokens: past a hundred positions.
PANGU = dict(
    hidden_act="silu", hidden_size=32, initializer_range=0.02, max_position_embeddings=128, num_attention_heads=4,
    num_key_value_heads=2, num_hidden_layers=2, rms_norm_eps=1e-5, vocab_size=50, bos_token_id=0, eos_token_id=1,
    use_cache=True, torch_dtype="float32", tie_word_embeddings=False)
EMBEDDED = PANGU | dict(architectures=["PanguEmbeddedForCausalLM"], model_type="PanguEmbedded", intermediate_size=40,
                        rope_theta=16000000.0, bias=True)
PRO = PANGU | dict(
    architectures=["PanguProMoEForCausalLM"], model_type="PanguProMoE", moe_intermediate_size=6, num_experts=12,
    num_experts_per_tok=3, shared_expert_intermediate_size=20, rope_theta=16000000.0)
ULTRA = without(PANGU, "num_key_value_heads") | dict(
    architectures=["PanguUltraMoEForCausalLM"], model_type="pangu_ultra_moe", num_attention_heads=2, intermediate_size=24,
    moe_intermediate_size=6, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, first_k_dense_replace=1,
    routed_scaling_factor=2.5, norm_topk_prob=True, kv_lora_rank=12, q_lora_rank=16, qk_nope_head_dim=12,
    qk_rope_head_dim=8, v_head_dim=14, rope_theta=25600000.0, sandwich_norm=True, attention_bias=False,
    num_nextn_predict_layers=0)
PANGU_CASES = {
    "pangu_embedded": (EMBEDDED, 104, "biases on q, k, v and o; theta 16e6; untied"),
    "pangu_embedded_tied": (EMBEDDED | dict(bias=False, tie_word_embeddings=True, head_dim=12, rope_theta=500.0,
                                            num_key_value_heads=1), 104,
                            "no biases, head_dim that is not hidden / heads, tied"),
    "pangu_pro_moe": (PRO | dict(num_hidden_layers=3), 104,
                      "one expert of each of 3 groups by a softmax over all, learnt factors per expert, a shared expert"),
    "pangu_pro_moe_tied": (PRO | dict(num_experts=10, num_experts_per_tok=2, shared_expert_intermediate_size=0,
                                      tie_word_embeddings=True, num_key_value_heads=4, rope_theta=500.0), 104,
                           "2 groups of 5, no shared expert, tied"),
    "pangu_ultra_moe": (ULTRA | dict(num_hidden_layers=3), 104,
                        "q LoRA, sandwich norms, sigmoid gate without bias or groups, renormalised, scale 2.5, a dense layer"),
    "pangu_ultra_plain": (
        without(ULTRA, "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
                "n_routed_experts", "n_shared_experts", "first_k_dense_replace", "num_nextn_predict_layers") | dict(
            attention_kv_lora_dim=10, attention_q_lora_dim=None, attention_qk_dim=10, attention_qk_rope_dim=6,
            attention_v_dim=12, num_routed_experts=6, num_shared_experts=2, num_dense_layers=0, num_mtp_layers=0,
            sandwich_norm=False, norm_topk_prob=False, routed_scaling_factor=1.5, tie_word_embeddings=True,
            rope_theta=500.0), 104,
        "the first release's keys; no q LoRA, no sandwich norms, not renormalised, 2 shared experts, tied"),
}
PANGU_MTP_CASES = {
    "pangu_mtp": (ULTRA | dict(num_nextn_predict_layers=1), 32, "an MTP module with sandwich norms"),
}

# Quantised checkpoints: logits only. name -> (config with quantization_config, sequence length, what it shows).
FORM_CASES = {
    "gpt_oss_mxfp4": (GPT_OSS | dict(
        hidden_size=64, intermediate_size=32, num_attention_heads=2, num_key_value_heads=2, num_local_experts=4,
        num_hidden_layers=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        quantization_config=dict(
            quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                          "model.embed_tokens", "lm_head"])), 104,
                      "experts as MXFP4 in blocks and scales"),
    "v3_fp8": (V3 | dict(
        hidden_size=136, num_nextn_predict_layers=1, n_routed_experts=8, first_k_dense_replace=1,
        quantization_config=dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic",
                                 weight_block_size=[128, 128])), 104,
               "FP8 with a factor for each 128 x 128, ragged at the edges; one MTP module"),
    "v3_fp8_small_blocks": (V3 | dict(
        quantization_config=dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic",
                                 weight_block_size=[8, 16])), 104,
                            "FP8 with a factor for each 8 x 16"),
}
