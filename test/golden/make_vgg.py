#!/usr/bin/env python3
"""Writes vgg.safetensors: what PyTorch computes with the paper's networks A, B, D and E at 32², 64² and 224².

    python3 test/golden/make_vgg.py [LETTER...]      (needs torch and numpy; made with torch 1.13 on two threads;
                                                      half an hour, 6 GB of memory)

Weights, images and labels are not stored: both sides compute them with the same formula (test/vgg-formula.ts mirrors
`draw`, `weight_of`, `images_of` and `labels_of`). For each network and side, in float32 with torch.nn's own modules
and without dropout:

A/32/logits       [2, 1000] of two images
A/32/loss         mean cross-entropy of the two
A/32/gradients    a row per parameter: norm, largest absolute value, then values at SAMPLES places (`places`)
A/224/step/loss, A/224/step/weights, A/224/step/updates
                  a step of SGD with momentum on eight images: rows as above, for the weights after the step and for
                  what the step added to them

The same in float64 must agree within MARGIN, so that no value depends on a decision of a ReLU or a max-pool that
rounding could flip.
"""

import copy
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from make import write_safetensors

PATH = pathlib.Path(__file__).with_name("vgg.safetensors")
CONFIGURATIONS = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "D": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "E": [64, 64, "M", 128, 128, "M"] + [256] * 4 + ["M"] + [512] * 4 + ["M"] + [512] * 4 + ["M"],
}
CLASSES = 1000
SETTINGS = {
    "sides": [32, 64, 224],
    "images": 2,
    "samples": 64,
    "step": {"side": 224, "images": 8, "lr": 0.01, "momentum": 0.9},
}
# Largest difference to float64, over the largest value of a tensor.
MARGIN = {"logits": 5e-6, "gradients": 1e-5}

# The formula -------------------------------------------------------------------------------------------------------

# Streams of draws; those below are one per parameter, in the network's order.
CELLS, NOISE, LABELS, PLACES = 1000, 1001, 1002, 1003


def mix(x):
    """A 32-bit integer hash (lowbias32 of Chris Wellons' hash-prospector)."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def draw(stream, indices):
    return mix(indices.astype(np.uint32) ^ mix(np.array([stream], np.uint32)))


def weight_of(parameter, shape):
    """Uniform in ±sqrt(6 / fan in), which keeps the size of values (He et al. 2015); biases in ±0.1."""
    scale = np.float32(0.1 if len(shape) == 1 else math.sqrt(6 / math.prod(shape[1:])))
    values = np.empty(math.prod(shape), np.float32)
    for first in range(0, values.size, 2**20):
        part = values[first : first + 2**20]
        bits = draw(parameter, np.arange(first, first + part.size)) >> np.uint32(8)
        part[:] = (bits.astype(np.int32) - 2**23).astype(np.float32) * np.float32(2.0**-23) * scale
    return torch.from_numpy(values).reshape(shape)


def images_of(count, side):
    """Bytes over 255: a pattern of 8×8 cells in each channel, under noise."""
    n, c, y, x = np.meshgrid(np.arange(count), np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    cells = draw(CELLS, ((3 * n + c) * 8 + 8 * y // side) * 8 + 8 * x // side) % np.uint32(192)
    noise = draw(NOISE, ((3 * n + c) * side + y) * side + x) % np.uint32(64)
    return torch.from_numpy((cells + noise).astype(np.float32)) / 255


def labels_of(count):
    return torch.from_numpy((draw(LABELS, np.arange(count)) % np.uint32(CLASSES)).astype(np.int64))


def places(parameter, size):
    indices = 64 * parameter + np.arange(SETTINGS["samples"])
    return torch.from_numpy((draw(PLACES, indices) % np.uint32(size)).astype(np.int64))


# What PyTorch computes ---------------------------------------------------------------------------------------------


class Vgg(torch.nn.Module):
    """torchvision's VGG without the pool that fits any image to 7×7."""

    def __init__(self, letter, side):
        super().__init__()
        layers, channels = [], 3
        for entry in CONFIGURATIONS[letter]:
            if entry == "M":
                layers.append(torch.nn.MaxPool2d(2, 2))
            else:
                layers += [torch.nn.Conv2d(channels, entry, 3, padding=1, device="meta"), torch.nn.ReLU()]
                channels = entry
        sizes = [channels * (side // 32) ** 2, 4096, 4096, CLASSES]
        hidden = []
        for inputs, outputs in zip(sizes, sizes[1:]):
            hidden += [torch.nn.Linear(inputs, outputs, device="meta"), torch.nn.ReLU(), torch.nn.Dropout()]
        self.features = torch.nn.Sequential(*layers)
        self.classifier = torch.nn.Sequential(*hidden[:-2])
        for parameter, (name, tensor) in enumerate(list(self.named_parameters())):
            layer, kind = name.rsplit(".", 1)
            setattr(self.get_submodule(layer), kind, torch.nn.Parameter(weight_of(parameter, tensor.shape)))
        self.eval()

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def rows(tensors):
    """The norm is summed in float64: in float32, a sum of many millions of squares is off by one in ten thousand."""
    return [
        [torch.linalg.vector_norm(t, dtype=torch.float64), t.abs().max(), *t.flatten()[places(parameter, t.numel())]]
        for parameter, t in enumerate(tensors)
    ]


def gradients(net, images, labels):
    logits = net(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    found = {"logits": logits.detach().tolist(), "loss": [loss.item()], "gradients": rows(p.grad for p in net.parameters())}
    net.zero_grad(set_to_none=True)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def apart(found, exact):
    """The largest difference over the largest values: of all logits, and of each parameter's gradient."""
    scales = {"logits": exact["logits"].abs().max(), "gradients": exact["gradients"][:, 1:2]}
    # A norm is compared with itself, not with the largest value.
    found["gradients"][:, 0] /= exact["gradients"][:, 0] / exact["gradients"][:, 1]
    exact["gradients"][:, 0] = exact["gradients"][:, 1]
    return {name: ((found[name] - exact[name]) / scale).abs().max().item() for name, scale in scales.items()}


def check(net, images, labels, found):
    exact = gradients(net.double(), images.double(), labels)
    distances = apart(copy.deepcopy(found), exact)
    print("   ", ", ".join(f"{name} within {distance:.1e} of float64" for name, distance in distances.items()), flush=True)
    for name, distance in distances.items():
        assert distance < MARGIN[name], f"{name}: {distance} is above {MARGIN[name]}"


def step(letter):
    settings = SETTINGS["step"]
    net = Vgg(letter, settings["side"])
    optimizer = torch.optim.SGD(net.parameters(), lr=settings["lr"], momentum=settings["momentum"])
    loss = F.cross_entropy(net(images_of(settings["images"], settings["side"])), labels_of(settings["images"]))
    loss.backward()
    optimizer.step()
    weights = list(net.parameters())
    with torch.no_grad():
        updates = rows(w - weight_of(parameter, w.shape) for parameter, w in enumerate(weights))
        return {"step/loss": [loss.item()], "step/weights": rows(weights), "step/updates": updates}


def run(letter):
    tensors = {}
    for side in SETTINGS["sides"]:
        net = Vgg(letter, side)
        images, labels = images_of(SETTINGS["images"], side), labels_of(SETTINGS["images"])
        found = gradients(net, images, labels)
        logits = found["logits"]
        print(f"{letter} at {side}²: loss {found['loss'].item():.4f}, logits ±{logits.std():.2f}", flush=True)
        check(net, images, labels, found)
        tensors |= {f"{letter}/{side}/{name}": values for name, values in found.items()}
    stepped = step(letter)
    print(f"{letter}, step: loss {stepped['step/loss'][0]:.4f}", flush=True)
    return tensors | {f"{letter}/{SETTINGS['step']['side']}/{name}": values for name, values in stepped.items()}


def main():
    torch.set_num_threads(2)
    tensors = {}
    for letter in sys.argv[1:] or CONFIGURATIONS:
        tensors |= run(letter)
    write_safetensors(PATH, tensors, {"torch": torch.__version__, "settings": json.dumps(SETTINGS)})


if __name__ == "__main__":
    main()
