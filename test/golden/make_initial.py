#!/usr/bin/env python3
"""Writes moments of weights as PyTorch and torchvision draw them, one large layer of each kind.

    python3 test/golden/make_initial.py         (needs torch and torchvision; made with torch 1.13 and torchvision 0.14)

initial.json   for each initialization and layer: the shape, and the mean, variance and kurtosis (3 for a normal, 1.8 for a
               uniform distribution) of the weights, and the same of the biases if they are not 0
"""
import json
import pathlib

import torch
import torchvision
from torch import nn

FOLDER = pathlib.Path(__file__).parent


def moments(tensor):
    x = tensor.detach().double().flatten()
    variance = x.var(unbiased=False)
    kurtosis = ((x - x.mean()) ** 4).mean() / variance**2 if variance > 0 else torch.zeros(())
    return dict(mean=x.mean().item(), variance=variance.item(), kurtosis=kurtosis.item())


def layer(initialization, module):
    shape = list(module.weight.shape)
    return dict(
        initialization=initialization, shape=shape, weight=moments(module.weight), bias=moments(module.bias)
    )


def glorot(module):
    nn.init.xavier_uniform_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def main():
    torch.manual_seed(3)
    vgg = torchvision.models.vgg11(num_classes=600)
    own = [vgg.features[0], vgg.features[3], vgg.features[11], vgg.classifier[6]]
    layers = [layer("torchvision", module) for module in own]
    # The largest layers' shapes in small.
    makes = [lambda: nn.Conv2d(128, 512, 3), lambda: nn.Conv2d(192, 64, (1, 5)), lambda: nn.Linear(1000, 400)]
    layers += [layer("pytorch", make()) for make in makes]
    layers += [layer("glorot", glorot(make())) for make in makes]
    (FOLDER / "initial.json").write_text("[\n" + ",\n".join(map(json.dumps, layers)) + "\n]\n")


if __name__ == "__main__":
    main()
