"""The tiny models: HF configs as they are found in the wild, each with what it is there to catch."""

DEEPSEEK = dict(
    hidden_act="silu", hidden_size=32, initializer_range=0.02, max_position_embeddings=128, moe_layer_freq=1,
    num_attention_heads=2, num_key_value_heads=2, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=14,
    kv_lora_rank=12, rms_norm_eps=1e-6, rope_theta=10000.0, vocab_size=64, attention_bias=False,
    attention_dropout=0.0, bos_token_id=0, eos_token_id=1, use_cache=True, torch_dtype="float32",
    first_k_dense_replace=1, intermediate_size=24, moe_intermediate_size=6, n_routed_experts=12)
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

# name -> (config, sequence length, what it shows)
CASES = {
    "v3_full": (V3 | dict(num_hidden_layers=3), 24,
                "q LoRA, sigmoid gate with bias, 4 groups keep 2, renormalised top-3, scale 2.5, one dense layer"),
    "llama_gqa": (LLAMA, 24, "2 key-value heads for 4 heads, untied"),
}
