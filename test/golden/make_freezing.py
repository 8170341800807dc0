"""Writes freezing.json: what PyTorch makes of a small network of which some layers are frozen, step by step.

    python3 test/golden/make_freezing.py

Frozen parameters have requires_grad=False and are not given to the optimizer; frozen batch normalizations are in
evaluation mode. Groups of parameters have learning rates of their own. The last batch of an epoch is whole.
"""

import json
import pathlib

import torch

torch.manual_seed(7)
torch.set_num_threads(1)

IMAGES, SIDE, CLASSES, BATCH = 24, 6, 3, 8
pixels = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE))
labels = torch.randint(0, CLASSES, (IMAGES,))


def network():
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 5, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(5),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(45, CLASSES),
    )
    # Other running moments than those of an untrained network.
    for layer in (model[1], model[5]):
        layer.running_mean.uniform_(-0.5, 0.5)
        layer.running_var.uniform_(0.5, 1.5)
    return model


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.01)


def adamw(groups):
    return torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3)


# Layers that are frozen, and factors of the learning rate.
CASES = {
    "features": (sgd, [0, 1, 4, 5], {}),
    "first block": (sgd, [0, 1], {}),
    "first block, adamw": (adamw, [0, 1], {}),
    "normalizations": (sgd, [1, 5], {}),
    "head": (sgd, [8], {}),
    "second convolution": (adamw, [4], {}),
    "groups": (sgd, [], {0: 0.1, 1: 0.1, 4: 0.3}),
    "groups, adamw": (adamw, [0], {4: 0.1, 8: 2.0}),
}


def train(make, frozen, factors):
    model = network()
    model.train()
    groups = []
    for i, layer in enumerate(model):
        own = list(layer.parameters())
        if i in frozen:
            layer.eval()
            for parameter in own:
                parameter.requires_grad = False
        elif own:
            groups.append({"params": own, "factor": factors.get(i, 1.0)})
    optimizer = make(groups)
    for group in optimizer.param_groups:
        group["lr"] *= group["factor"]
    losses = []
    for step in range(IMAGES // BATCH):
        part = slice(step * BATCH, (step + 1) * BATCH)
        loss = torch.nn.functional.cross_entropy(model(pixels[part] / 255), labels[part])
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return {
        "frozen": frozen,
        "factors": [factors.get(i, 1.0) for i in range(len(model))],
        "optimizer": "sgd" if make is sgd else "adamw",
        "losses": losses,
        "weights": tensors(model),
    }


def tensors(model):
    return {n: t.flatten().tolist() for n, t in model.state_dict().items() if "num_batches" not in n}


golden = {
    "torch": torch.__version__,
    "pixels": pixels.flatten().tolist(),
    "labels": labels.tolist(),
    "weights": tensors(network()),
    "cases": {name: train(*case) for name, case in CASES.items()},
}
path = pathlib.Path(__file__).with_name("freezing.json")
path.write_text(json.dumps(golden) + "\n")
