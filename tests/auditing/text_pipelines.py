"""A pipeline in the layout of Stable Diffusion, in small, made by plain diffusers and transformers code."""

import csv
import string

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from digit_models import save
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("warm", "cold", "grey")
LENGTH = 12


def make(folder):
    """Random weights: an autoencoder of 16×16 images, a text encoder, a tokenizer of letters and digits, and a U-Net."""
    torch.manual_seed(0)
    letters = [*string.ascii_lowercase, *string.digits]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: k for k, word in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LENGTH)
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=LENGTH,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=vocabulary["<|endoftext|>"],
        )
    )
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        latent_channels=4,
        sample_size=16,
        scaling_factor=2.5,
    )
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
    )
    parts = {"text_encoder": encoder, "vae": autoencoder, "unet": network, "tokenizer": tokenizer}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "scheduler"
    )
    return parts


def write_files(root, colour):
    """Members and others, 66 and 156 of them, as files of 16×16, and captions.csv; the captions of the members."""
    rows, known = [], []
    for name, first, last in (("members", 0, 66), ("others", 66, 222)):
        save(colour[first:last], root / name, lambda image: image.resize((16, 16), Image.Resampling.BICUBIC))
        for k in range(last - first):
            caption = f"{WORDS[k % 3]} {first + k}"
            rows.append((f"{name}/{k:04d}.png", caption))
            known += [caption] * (name == "members")
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    return known


def train(folder, parts, root, captions, steps):
    """Train the U-Net on the members under their captions, one in ten left empty."""
    torch.manual_seed(1)
    images = [np.asarray(Image.open(file)) for file in sorted((root / "members").iterdir())]
    x = torch.from_numpy(np.stack(images)).movedim(3, 1) / 127.5 - 1
    options = {"padding": "max_length", "max_length": LENGTH, "truncation": True, "return_tensors": "pt"}
    with torch.no_grad():
        latents = parts["vae"].encode(x).latent_dist.mode() * parts["vae"].config.scaling_factor
        hidden, empty = (parts["text_encoder"](parts["tokenizer"](t, **options).input_ids)[0] for t in (captions, [""]))
    network, scheduler = parts["unet"].train(), DDPMScheduler.from_pretrained(folder / "scheduler")
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        step, noise = torch.randint(1000, (len(x),)), torch.randn_like(latents)
        told = torch.where(torch.rand(len(x), 1, 1) < 0.1, empty, hidden)
        loss = (network(scheduler.add_noise(latents, noise, step), step, told).sample - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder / "unet")
    return latents, loss.item()
