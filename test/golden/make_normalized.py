#!/usr/bin/env python3
"""Writes the golden files of normalizations, dropout and average pools: short trainings by PyTorch, step by step.

    python3 test/golden/make_normalized.py         (needs torch and numpy; made with torch 1.13; a few seconds)

normalized.json          the networks (as the project's own layer specs), seeds, batch sizes, and the losses
normalized.safetensors   for each case images, labels, the weights before, what evaluation makes of them, the gradients
                         of the first batch, and the weights (running moments included) and evaluation after an epoch

All is computed in float64 with torch.nn's own modules and torch.optim.Adam. Dropout is the exception: PyTorch's draws are
its own, so `kept` draws as the project documents it (src/model/layers/dropout.ts) and multiplies by PyTorch's factor.
Weights are drawn again until no ReLU is closer to its decision than MARGIN in the first step, so that rounding flips
none.
"""
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from make import conv, flatten, linear, philox, pool, relu, write_safetensors

FOLDER = pathlib.Path(__file__).parent
MARGIN = 3e-5
DROPOUT = 5
LR = 0.01


def norm(dimensions, momentum=0.1, epsilon=1e-5, affine=True):
    return dict(kind="batchNorm", dimensions=dimensions, momentum=momentum, epsilon=epsilon, affine=affine)


def average(kernel, stride=None, padding=0):
    return pool(kernel, stride, padding) | dict(kind="avgPool2d")


def adaptive(size):
    return dict(kind="adaptiveAvgPool2d", size=size)


def response(size, alpha=1e-4, beta=0.75, k=1):
    return dict(kind="localResponseNorm", size=size, alpha=alpha, beta=beta, k=k)


def dropout(probability):
    return dict(kind="dropout", probability=probability)


def kept(probability, size, seed, epoch, layer, sample):
    """Which of an image's values stay: a byte of Philox each, and where it cannot tell, a number of the value's own."""
    key = [np.full(1, x, np.uint64) for x in (DROPOUT + 65536 * layer, epoch, sample)]
    blocks = np.arange(-(-size // 16), dtype=np.uint64)
    words = philox((blocks, *(np.broadcast_to(x, blocks.shape) for x in key)), seed).astype(np.uint64)
    bytes_ = ((words.reshape(-1, 4, 1) >> np.arange(0, 32, 8, dtype=np.uint64)) & np.uint64(255)).reshape(-1)[:size]
    whole = int(probability * 256)
    rest = (probability * 256 - whole) * 2**32
    stays = bytes_ >= whole
    for i in np.flatnonzero(bytes_ == whole) if rest > 0 else []:
        counter = [np.asarray([x], np.uint64) for x in (2**31 + int(i), DROPOUT + 65536 * layer, epoch, sample)]
        stays[i] = philox(counter, seed).reshape(-1)[0] >= rest
    return stays


class Dropout(torch.nn.Module):
    """Drops by `kept`. `seed`, `epoch` and `samples` are set before a pass."""

    def __init__(self, probability, layer):
        super().__init__()
        self.probability, self.layer = probability, layer

    def forward(self, x):
        if not self.training:
            return x
        size = x[0].numel()
        rows = [kept(self.probability, size, self.seed, self.epoch, self.layer, int(s)) for s in self.samples]
        return x * torch.from_numpy(np.stack(rows)).reshape(x.shape) / (1 - self.probability)


class Relu(torch.nn.Module):
    """Remembers how close its decisions were."""

    def forward(self, x):
        values = x.detach().abs()
        self.margin = (values[values > 0].min() / values.max()).item()
        return F.relu(x)


def module(spec, shape, layer):
    kind = spec["kind"]
    if kind == "conv2d":
        return torch.nn.Conv2d(shape[1], spec["out"], spec["kernel"], spec["stride"], spec["padding"], bias=spec["bias"])
    if kind == "linear":
        return torch.nn.Linear(shape[1], spec["out"], bias=spec["bias"])
    if kind == "batchNorm":
        make = torch.nn.BatchNorm2d if spec["dimensions"] == 2 else torch.nn.BatchNorm1d
        return make(shape[1], eps=spec["epsilon"], momentum=spec["momentum"], affine=spec["affine"])
    if kind == "maxPool2d":
        return torch.nn.MaxPool2d(spec["kernel"], spec["stride"], spec["padding"])
    if kind == "avgPool2d":
        return torch.nn.AvgPool2d(spec["kernel"], spec["stride"], spec["padding"])
    if kind == "adaptiveAvgPool2d":
        return torch.nn.AdaptiveAvgPool2d(spec["size"])
    if kind == "localResponseNorm":
        return torch.nn.LocalResponseNorm(spec["size"], spec["alpha"], spec["beta"], spec["k"])
    if kind == "dropout":
        return Dropout(spec["probability"], layer)
    return Relu() if kind == "relu" else torch.nn.Flatten()


def network(case):
    x = torch.rand(2, *case["input"])
    modules = []
    for layer, spec in enumerate(case["layers"]):
        modules.append(module(spec, x.shape, layer))
        x = modules[-1].eval()(x)
    return torch.nn.Sequential(*modules).double()


def set_draws(net, seed, epoch, samples):
    for m in net.modules():
        if isinstance(m, Dropout):
            m.seed, m.epoch, m.samples = seed, epoch, samples


def state(net):
    """In float32, as files hold it."""
    return {k: v.float() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}


def randomize(net):
    """Normalizations that are not at their start, so that each of their tensors counts."""
    for m in net.modules():
        if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            m.running_mean.uniform_(-0.5, 0.5)
            m.running_var.uniform_(0.5, 2)
            if m.affine:
                torch.nn.init.uniform_(m.weight, 0.5, 1.5)
                torch.nn.init.uniform_(m.bias, -0.5, 0.5)
    net.load_state_dict(state(net), strict=False)


def run(case):
    tensors = {}
    count, batch = case["images"], case["batch"]
    for attempt in range(1000):
        torch.manual_seed(1000 * case["seed"] + attempt)
        pixels = torch.randint(0, 256, (count, *case["input"]))
        labels = torch.randint(0, case["classes"], (count,))
        x = (pixels.double() / 255).float().double()
        net = network(case)
        randomize(net)
        before = {k: v.clone() for k, v in state(net).items()}
        net.train()
        set_draws(net, 0, 0, range(batch))
        loss = F.cross_entropy(net(x[:batch]), labels[:batch])
        if min(m.margin for m in net.modules() if isinstance(m, Relu)) > MARGIN:
            break
    else:
        raise AssertionError(f"{case['name']}: the margin was not reached")
    loss.backward()
    gradients = {k: p.grad.clone() for k, p in net.named_parameters()}
    tensors |= dict(pixels=pixels, labels=labels, loss=loss.item())
    tensors |= {f"gradient/{k}": g for k, g in gradients.items()} | {f"before/{k}": v for k, v in before.items()}

    net.load_state_dict({k: v.double() for k, v in before.items()}, strict=False)
    tensors["evaluated before"] = net.eval()(x).detach()
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    losses = []
    net.train()
    for first in range(0, count, batch):
        samples = range(first, min(first + batch, count))
        set_draws(net, case["seed"], 1, samples)
        loss = F.cross_entropy(net(x[first : first + batch]), labels[first : first + batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tensors |= {f"after/{k}": v for k, v in state(net).items()}
    tensors["evaluated after"] = net.eval()(x).detach()
    print(f"{case['name']}: losses {losses}, attempt {attempt}")
    return losses, tensors


def main():
    torch.set_num_threads(1)
    cases = []

    def add(name, shape, batch, images, layers):
        case = dict(name=name, input=shape, batch=batch, images=images, seed=len(cases) + 1, classes=layers[-1]["out"])
        cases.append(case | dict(layers=layers))

    # A bias before a normalization has no gradient but rounding, of which Adam would make whole steps.
    blocks = [conv(6, 3, 1, 1, bias=False), norm(2), relu, pool(2), conv(9, 3, 1, 1, bias=False), norm(2, 0.3, 0.01), relu]
    add("conv, norm, relu, pool", [3, 9, 8], 8, 21, blocks + [pool(2), flatten, linear(5)])
    add("a few images", [3, 9, 8], 3, 8, blocks + [flatten, linear(5)])
    add("not affine, 5x5, stride 2", [2, 11, 9], 9, 20, [conv(7, 5, 2, 2, bias=False), norm(2, affine=False), relu, flatten, linear(4)])
    head = [flatten, linear(17, bias=False), norm(1), relu, linear(6, bias=False), norm(1, 0.5, affine=False), relu, linear(3)]
    add("vectors", [3, 4, 4], 10, 25, head)
    add("dropout", [3, 6, 5], 8, 20, [conv(5, 3), relu, dropout(0.3), flatten, linear(40), relu, dropout(0.5), linear(4)])
    add("both", [3, 8, 8], 8, 20, blocks[:4] + [dropout(0.1), flatten, linear(12, bias=False), norm(1), relu, dropout(0.25), linear(4)])
    averages = [conv(6, 3, 1, 1), relu, average(2), conv(5, 3), average([3, 2], [2, 1], 1), relu, average([2, 1], 1)]
    add("average pools", [3, 13, 11], 8, 20, averages + [flatten, linear(4)])
    # The paper's A-LRN in small, with a strong normalization; maps that adaptive pools shrink, enlarge and leave as they are.
    responses = [conv(7, 3, 1, 1), relu, response(5, 5, 0.75, 2), pool(2), conv(6, 1), relu, response(4, 2, 0.6)]
    add("local responses, 1x1", [3, 11, 10], 8, 20, responses + [conv(5, 3, 1, 1), relu, adaptive([2, 3]), flatten, linear(4)])
    sizes = [conv(6, 3, 1, 1), relu, pool(2), adaptive([4, 3]), conv(5, 1), adaptive([4, 3]), relu, adaptive([2, 5])]
    add("adaptive pools", [3, 11, 14], 8, 20, sizes + [flatten, linear(9), relu, linear(4)])
    add("one pixel repeated", [2, 8, 8], 4, 12, [conv(6, 3, 1, 1), relu, pool(8), adaptive([7, 7]), flatten, linear(4)])

    tensors = {}
    for case in cases:
        case["losses"], own = run(case)
        tensors |= {f"{case['name']}/{k}": v for k, v in own.items()}
    write_safetensors(FOLDER / "normalized.safetensors", tensors)
    (FOLDER / "normalized.json").write_text('{"lr": %g, "cases": [\n' % LR + ",\n".join(map(json.dumps, cases)) + "\n]}\n")


if __name__ == "__main__":
    main()
