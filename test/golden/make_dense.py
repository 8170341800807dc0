#!/usr/bin/env python3
"""Writes dense.json: logits of networks at other image sizes than they were trained at, plain and dense, from PyTorch.

Dense (Simonyan & Zisserman, section 3.2): the linear layers are convolutions, F.conv2d with their reshaped weights, and
the scores are averaged over all positions. Values of tensors are whole-number formulas, which test/dense-golden.ts repeats.

    python3 make_dense.py
"""
import json

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)
MODULUS = 1009


def values(count, key, scale):
    index = torch.arange(count, dtype=torch.int64)
    return ((index * 7919 + (key + 1) * 104729) % MODULUS).double() / MODULUS * 2 * scale - scale


def fill(module):
    tensors = {name: own for name, own in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    for key, (name, tensor) in enumerate(tensors.items()):
        size = tensor.numel()
        fan = size // tensor.shape[0] if tensor.dim() > 1 else 4
        drawn = values(size, key, 2 / fan**0.5).reshape(tensor.shape)
        if name.endswith("running_var"):
            drawn = drawn.abs() + 0.5
        tensor.copy_(drawn.float().double())


def features(channels):
    return [
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    ]  # fmt: skip


def head(inputs, hidden):
    return [
        nn.Dropout(), nn.Linear(inputs, hidden), nn.ReLU(),
        nn.Linear(hidden, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 7),
    ]  # fmt: skip


# The first linear layer of `split` has enough weights to be divided by outputs; `pooled` averages whole maps.
NETWORKS = {
    "split": nn.Sequential(*features(32), nn.AdaptiveAvgPool2d((6, 5)), nn.Flatten(), *head(32 * 30, 140)),
    "small": nn.Sequential(*features(9), nn.AdaptiveAvgPool2d((6, 5)), nn.Flatten(), *head(9 * 30, 10)),
    "pooled": nn.Sequential(*features(9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head(9, 10)),
}
# At the training size, the last feature map has 6×5 places.
TRAINING = (24, 20)
SIZES = [(24, 20), (25, 23), (41, 37), (60, 29), (28, 90)]


def dense(model, images):
    """The scores of the classifier as convolutions, averaged over all positions."""
    pool = next(i for i, layer in enumerate(model) if isinstance(layer, nn.AdaptiveAvgPool2d))
    x = model[:pool](images)
    window = model[pool].output_size
    if window == 1:
        x = F.avg_pool2d(x, (6, 5), stride=1)
        window = (1, 1)
    for layer in model[pool + 2 :]:
        if isinstance(layer, nn.Linear):
            x = F.conv2d(x, layer.weight.reshape(layer.out_features, -1, *window), layer.bias)
            window = (1, 1)
        elif isinstance(layer, nn.BatchNorm1d):
            x = F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)
        elif isinstance(layer, nn.ReLU):
            x = layer(x)
    return x.mean((2, 3))


def main():
    cases = []
    with torch.no_grad():
        for name, model in NETWORKS.items():
            model.double().eval()
            fill(model)
            for key, (height, width) in enumerate(SIZES):
                for count in (1, 9):
                    images = values(count * 3 * height * width, 50 + key, 1).reshape(count, 3, height, width)
                    images = images.float().double()
                    plain = model(images)
                    if (height, width) == TRAINING:
                        assert torch.allclose(plain, dense(model, images), atol=1e-12)
                    for is_dense, logits in ((False, plain), (True, dense(model, images))):
                        # Of many images, the first and the last are enough.
                        some = logits[[0, -1]] if count > 1 else logits
                        rounded = [float(f"{value:.9g}") for value in some.flatten()]
                        cases.append(
                            {"network": name, "shape": [3, height, width], "count": count, "dense": is_dense, "logits": rounded}
                        )
    with open("dense.json", "w") as file:
        file.write(json.dumps({"cases": cases}, indent=None, separators=(",", ":")).replace('{"network"', '\n{"network"') + "\n")


if __name__ == "__main__":
    main()
