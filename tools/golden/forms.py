"""Quantised checkpoints as they are published, and the f32 models that their values make in transformers."""
import pathlib
import re
import tempfile

import numpy as np
import torch
from transformers import Mxfp4Config

from . import hf, mtp
from .files import Raw, write_json, write_safetensors

FP8_NAMES = re.compile(r"\.(?!eh_proj)(\w+_proj|kv_a_proj_with_mqa)\.weight$")  # DeepSeek-V3's, as released
FP8_LARGEST = 448.0


def plain(config: dict) -> dict:
    return {key: value for key, value in config.items() if key != "quantization_config"}


def random_weights(config: dict, seed: int) -> dict[str, np.ndarray]:
    """By name in the checkpoint, MTP modules included."""
    with tempfile.TemporaryDirectory() as folder:
        write_json(pathlib.Path(folder) / "config.json", plain(config))
        blank = hf.blank_model(pathlib.Path(folder))
    shapes = {name: tuple(view.shape) for name, view in hf.named_views(blank).items()}
    shapes |= {name: tuple(b.shape) for name, b in blank.named_buffers() if name.endswith("e_score_correction_bias")}
    if config.get("num_nextn_predict_layers"):
        shapes |= mtp.extra_shapes(blank)
    rng = np.random.default_rng(seed)
    return {name: hf.random_value(rng, name, shape).astype(np.float32) for name, shape in shapes.items()}


def blocks_of(factors: torch.Tensor, shape, block) -> torch.Tensor:
    """A factor for every number of a matrix."""
    wide = factors.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return wide[:shape[0], :shape[1]]


def to_fp8(matrix: np.ndarray, block) -> tuple[Raw, torch.Tensor, torch.Tensor]:
    """Codes, factors, and what they stand for (DeepSeek-V3, inference/kernel.py: weight_dequant)."""
    x = torch.from_numpy(matrix)
    rows, cols = (-(-n // b) for n, b in zip(x.shape, block, strict=True))
    padded = torch.zeros(rows * block[0], cols * block[1])
    padded[:x.shape[0], :x.shape[1]] = x
    factors = padded.view(rows, block[0], cols, block[1]).abs().amax((1, 3)) / FP8_LARGEST
    codes = (x / blocks_of(factors, x.shape, block)).to(torch.float8_e4m3fn)
    return Raw("F8_E4M3", codes.view(torch.uint8).numpy()), factors, codes.float() * blocks_of(factors, x.shape, block)


def make_fp8(folder: pathlib.Path, config: dict, seed: int):
    block = config["quantization_config"]["weight_block_size"]
    stored = random_weights(config, seed)
    values = dict(stored)
    for name in [name for name in stored if FP8_NAMES.search(name)]:
        stored[name], stored[f"{name}_scale_inv"], values[name] = to_fp8(stored[name], block)
    write_json(folder / "config.json", config)
    write_safetensors(folder / "model.safetensors", stored, {"format": "pt", "seed": seed})
    with tempfile.TemporaryDirectory() as unpacked:
        write_json(pathlib.Path(unpacked) / "config.json", plain(config))
        write_safetensors(pathlib.Path(unpacked) / "model.safetensors", values, {"format": "pt"})
        return hf.load(pathlib.Path(unpacked))


def make_mxfp4(folder: pathlib.Path, config: dict, seed: int):
    """Random codes and exponents; transformers unpacks them itself."""
    rng = np.random.default_rng([seed, 4])
    stored = random_weights(config, seed)
    for name in [name for name in stored if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = stored.pop(name).shape
        blocks = (experts, outputs, inputs // 32)
        stored[f"{name}_blocks"] = Raw("U8", rng.integers(0, 256, (*blocks, 16), dtype=np.uint8))
        stored[f"{name}_scales"] = Raw("U8", rng.integers(122, 125, blocks, dtype=np.uint8))
    write_json(folder / "config.json", config)
    write_safetensors(folder / "model.safetensors", stored, {"format": "pt", "seed": seed})
    return hf.load(folder, quantization_config=Mxfp4Config(dequantize=True))


def make_model(folder: pathlib.Path, config: dict, seed: int):
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"fp8": make_fp8, "mxfp4": make_mxfp4}
    return makers[config["quantization_config"]["quant_method"]](folder, config, seed)
