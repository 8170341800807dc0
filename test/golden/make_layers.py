#!/usr/bin/env python3
"""Writes the golden values of single layers, adaptive average pools and local response normalization: what PyTorch makes
of random maps, forward and backward, in float64.

    python3 test/golden/make_layers.py         (needs torch; made with torch 1.13; a second)

layers.json   for each case the layer (as the project's own spec), the shape of the input [N, C, H, W], the input, the
              output, and the gradients of both
"""
import json
import pathlib

import torch
import torch.nn.functional as F

FOLDER = pathlib.Path(__file__).parent


def values(tensor):
    return [float("%.11g" % v) for v in tensor.flatten().tolist()]


def case(spec, shape, layer, scale=1):
    x = (scale * torch.randn(shape)).requires_grad_()
    y = layer(x)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    return dict(spec=spec, shape=shape, x=values(x), y=values(y), dy=values(gradient), dx=values(x.grad))


def adaptive(shape, size):
    return case(dict(kind="adaptiveAvgPool2d", size=size), shape, lambda x: F.adaptive_avg_pool2d(x, size))


def response(shape, size, alpha=1e-4, beta=0.75, k=1.0):
    spec = dict(kind="localResponseNorm", size=size, alpha=alpha, beta=beta, k=k)
    return case(spec, shape, lambda x: F.local_response_norm(x, size, alpha, beta, k), 3)


def main():
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    cases = [
        # One pixel repeated, smaller maps, overlapping pairs, the identity, equal windows, wider windows.
        adaptive([1, 2, 1, 1], [7, 7]),
        adaptive([1, 2, 2, 3], [7, 7]),
        adaptive([2, 1, 5, 8], [7, 7]),
        adaptive([1, 2, 8, 9], [7, 7]),
        adaptive([1, 1, 7, 7], [7, 7]),
        adaptive([1, 1, 14, 7], [7, 7]),
        adaptive([1, 1, 13, 15], [7, 7]),
        adaptive([2, 3, 5, 4], [1, 1]),
        adaptive([2, 3, 5, 4], [2, 3]),
        # Krizhevsky's constants, fewer channels than a window has, even windows, a window of one.
        response([2, 13, 2, 2], 5, 5e-4, 0.75, 2.0),
        response([1, 3, 2, 3], 5, 5e-4, 0.75, 2.0),
        response([2, 8, 1, 3], 4, 0.5, 0.5, 1.0),
        response([1, 6, 2, 3], 3, 1.0),
        response([1, 7, 2, 2], 2, 2.0, 1.3, 0.5),
        response([1, 5, 2, 2], 1, 0.7, 2.0, 3.0),
        response([2, 9, 2, 1], 5),
    ]
    (FOLDER / "layers.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


if __name__ == "__main__":
    main()
