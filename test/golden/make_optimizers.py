"""Writes optimizers.json: what PyTorch's optimizers make of a small network, step by step.

    python3 test/golden/make_optimizers.py

A convolution, a ReLU and a linear layer learn 24 images in batches of 4; the last batch of an epoch is whole.
"""

import json
import pathlib

import torch

torch.manual_seed(7)
torch.set_num_threads(1)

IMAGES, SIDE, CLASSES, BATCH = 24, 5, 3, 4
pixels = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE))
labels = torch.randint(0, CLASSES, (IMAGES,))


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, CLASSES)
    )


CASES = {
    "adam, weight decay": (lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1), {}),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3), {}),
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01), {}),
    "sgd without momentum": (lambda p: torch.optim.SGD(p, lr=0.05), {}),
    "sgd, nesterov": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01), {}),
    "label smoothing": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), {"label_smoothing": 0.2}),
    "clipped": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), {"clip": 0.3}),
    "accumulated": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), {"accumulate": 2}),
}


def train(make, label_smoothing=0.0, clip=0.0, accumulate=1):
    model = network()
    optimizer = make(model.parameters())
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    losses = []
    for step in range(IMAGES // BATCH):
        part = slice(step * BATCH, (step + 1) * BATCH)
        loss = loss_of(model(pixels[part] / 255), labels[part])
        (loss / accumulate).backward()
        losses.append(loss.item())
        if (step + 1) % accumulate == 0:
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
    return {"losses": losses, "weights": {n: p.flatten().tolist() for n, p in model.named_parameters()}}


golden = {
    "torch": torch.__version__,
    "pixels": pixels.flatten().tolist(),
    "labels": labels.tolist(),
    "weights": {n: p.flatten().tolist() for n, p in network().named_parameters()},
    "cases": {name: train(make, **options) for name, (make, options) in CASES.items()},
}
path = pathlib.Path(__file__).with_name("optimizers.json")
path.write_text(json.dumps(golden) + "\n")
