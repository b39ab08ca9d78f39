#!/usr/bin/env python3
"""Writes a GGUF file with random Q4_0 weights in the shape of DeepSeek-V2-Lite, to measure speed on.

    python3 tools/make_random_model.py v2lite-9.gguf [--layers 9] [--q-lora 512] [--vocab 102400] [--seed 1]

The file is read by frugal, llama.cpp and ik_llama.cpp (architecture deepseek2). A query LoRA is there because those
take a deepseek2 model without one for V2-Lite itself, by its number of layers. The vocabulary is bytes, pairs of
letters and unused ids: text goes in and out, nothing sensible is said. Needs numpy and gguf.
"""
import argparse

import gguf
import numpy as np

BLOCK, BLOCK_BYTES = 32, 18  # of Q4_0: an f16 scale and 32 numbers of 4 bits, 8 standing for 0


def shapes(a):
    """(name, (out, in) or (experts, out, in), is matrix) of every tensor."""
    heads, nope, rope, v, rank = 16, 128, 64, 128, 512
    yield "token_embd.weight", (a.vocab, a.hidden), True
    for i in range(a.layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (a.hidden,), False
        if a.q_lora:
            yield b + "attn_q_a.weight", (a.q_lora, a.hidden), True
            yield b + "attn_q_a_norm.weight", (a.q_lora,), False
            yield b + "attn_q_b.weight", (heads * (nope + rope), a.q_lora), True
        else:
            yield b + "attn_q.weight", (heads * (nope + rope), a.hidden), True
        yield b + "attn_kv_a_mqa.weight", (rank + rope, a.hidden), True
        yield b + "attn_kv_a_norm.weight", (rank,), False
        yield b + "attn_kv_b.weight", (heads * (nope + v), rank), True
        yield b + "attn_output.weight", (a.hidden, heads * v), True
        yield b + "ffn_norm.weight", (a.hidden,), False
        if i == 0:
            yield from ffn(b, "", (), a.ffn, a.hidden)
        else:
            yield b + "ffn_gate_inp.weight", (a.experts, a.hidden), False
            yield from ffn(b, "_exps", (a.experts,), a.expert_ffn, a.hidden)
            yield from ffn(b, "_shexp", (), 2 * a.expert_ffn, a.hidden)
    yield "output_norm.weight", (a.hidden,), False
    yield "output.weight", (a.vocab, a.hidden), True


def ffn(block, suffix, lead, inner, hidden):
    yield f"{block}ffn_gate{suffix}.weight", (*lead, inner, hidden), True
    yield f"{block}ffn_up{suffix}.weight", (*lead, inner, hidden), True
    yield f"{block}ffn_down{suffix}.weight", (*lead, hidden, inner), True


def q4_0(rng, shape):
    """Random blocks whose values have the deviation 1 / sqrt(in)."""
    count = int(np.prod(shape)) // BLOCK
    blocks = np.frombuffer(rng.bytes(count * BLOCK_BYTES), np.uint8).reshape(count, BLOCK_BYTES).copy()
    scale = np.array([1 / (4.6 * np.sqrt(shape[-1]))], np.float16).view(np.uint8)
    blocks[:, :2] = scale
    return blocks.reshape(*shape[:-1], shape[-1] // BLOCK * BLOCK_BYTES)


def byte_alphabet():
    """The printable character that stands for each byte in byte-level BPE vocabularies."""
    keep = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in keep]
    return [chr(b) if b in keep else chr(256 + others.index(b)) for b in range(256)]


def add_vocabulary(writer, size):
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pairs = [(x, y) for x in ["\u0120", *letters] for y in letters]
    tokens = [*byte_alphabet(), *(x + y for x, y in pairs), "<bos>", "<eos>"]
    types = [gguf.TokenType.NORMAL] * (len(tokens) - 2) + [gguf.TokenType.CONTROL] * 2
    if size < len(tokens):
        raise SystemExit(f"--vocab {size}: expected at least {len(tokens)}")
    bos = len(tokens) - 2
    types += [gguf.TokenType.UNUSED] * (size - len(tokens))
    tokens += [f"<unused{i}>" for i in range(size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-llm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([f"{x} {y}" for x, y in pairs])
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(bos + 1)
    writer.add_add_bos_token(True)


def add_config(writer, a):
    writer.add_name("random V2-Lite shape")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(a.context)
    writer.add_embedding_length(a.hidden)
    writer.add_block_count(a.layers)
    writer.add_feed_forward_length(a.ffn)
    writer.add_head_count(16)
    writer.add_head_count_kv(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(64)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(a.vocab)
    writer.add_leading_dense_block_count(1)
    if a.q_lora:
        writer.add_q_lora_rank(a.q_lora)
    writer.add_kv_lora_rank(512)
    writer.add_key_length(192)
    writer.add_value_length(128)
    writer.add_expert_count(a.experts)
    writer.add_expert_used_count(6)
    writer.add_expert_shared_count(2)
    writer.add_expert_feed_forward_length(a.expert_ffn)
    writer.add_expert_weights_scale(1.0)
    writer.add_expert_weights_norm(False)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out")
    p.add_argument("--layers", type=int, default=9)
    p.add_argument("--q-lora", type=int, default=512, help="0: none")
    p.add_argument("--vocab", type=int, default=102400)
    p.add_argument("--hidden", type=int, default=2048)
    p.add_argument("--ffn", type=int, default=10944)
    p.add_argument("--expert-ffn", type=int, default=1408)
    p.add_argument("--experts", type=int, default=64)
    p.add_argument("--context", type=int, default=32768)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    writer = gguf.GGUFWriter(a.out, "deepseek2")
    add_config(writer, a)
    add_vocabulary(writer, a.vocab)
    tensors = list(shapes(a))
    for name, shape, matrix in tensors:
        if matrix:
            stored = (*shape[:-1], shape[-1] // BLOCK * BLOCK_BYTES)
            writer.add_tensor_info(name, stored, np.dtype(np.uint8), int(np.prod(stored)), gguf.GGMLQuantizationType.Q4_0)
        else:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(a.seed)
    for _, shape, matrix in tensors:  # one at a time: the whole is larger than many machines' memory
        if matrix:
            writer.write_tensor_data(q4_0(rng, shape))
        elif len(shape) == 1:
            writer.write_tensor_data(np.ones(shape, np.float32))
        else:
            writer.write_tensor_data(rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1])))
    writer.close()


if __name__ == "__main__":
    main()
