"""Writes muon.json: what Muon makes of a small network, step by step.

    python3 test/golden/make_muon.py

Two convolutions (one of images, wide matrices), two linear layers (a tall matrix, and the last, which is not
orthogonalized) learn 24 images in batches of 4. The optimizer is written as in https://github.com/KellerJordan/Muon,
for matrices [out, in·k·k]; PyTorch 1.13 has none of its own.
"""

import json
import pathlib

import torch

torch.manual_seed(7)
torch.set_num_threads(1)

IMAGES, SIDE, CLASSES, BATCH = 24, 7, 3, 4
pixels = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE))
labels = torch.randint(0, CLASSES, (IMAGES,))


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 5, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(5, 11),
        torch.nn.ReLU(),
        torch.nn.Linear(11, CLASSES),
    ).double()


def orthogonalized(matrix, steps=5, epsilon=1e-7):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + epsilon)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def train(lr, other_lr=1.0, momentum=0.95, weight_decay=0.0, clip=0.0, accumulate=1):
    model = network()
    matrices = [p for p in model.parameters() if p.ndim >= 2][:-1]
    momenta = [torch.zeros_like(p) for p in model.parameters()]
    loss_of = torch.nn.CrossEntropyLoss()
    losses = []
    for step in range(IMAGES // BATCH):
        part = slice(step * BATCH, (step + 1) * BATCH)
        loss = loss_of(model(pixels[part].double() / 255), labels[part])
        (loss / accumulate).backward()
        losses.append(loss.item())
        if (step + 1) % accumulate:
            continue
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        with torch.no_grad():
            for p, moved in zip(model.parameters(), momenta):
                moved.mul_(momentum).add_(p.grad)
                change = p.grad + momentum * moved
                p.mul_(1 - lr * weight_decay)
                if any(p is matrix for matrix in matrices):
                    flat = change.flatten(1)
                    rows, columns = flat.shape
                    p.add_(orthogonalized(flat).view_as(p), alpha=-lr * max(1, rows / columns) ** 0.5)
                else:
                    p.add_(change, alpha=-lr * other_lr)
        model.zero_grad()
    return {"losses": losses, "weights": {n: p.flatten().tolist() for n, p in model.named_parameters()}}


CASES = {
    "muon": dict(lr=0.05),
    "muon, all settings": dict(
        lr=0.05, other_lr=0.3, momentum=0.8, weight_decay=0.5, clip=0.3, accumulate=2
    ),
}
golden = {
    "torch": torch.__version__,
    "pixels": pixels.flatten().tolist(),
    "labels": labels.tolist(),
    "weights": {n: p.flatten().tolist() for n, p in network().named_parameters()},
    "cases": {name: train(**settings) for name, settings in CASES.items()},
}
path = pathlib.Path(__file__).with_name("muon.json")
path.write_text(json.dumps(golden) + "\n")
