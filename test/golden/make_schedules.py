"""Writes schedules.json: the learning rates of PyTorch's schedulers, stepped after each batch.

    python3 test/golden/make_schedules.py
"""

import json
import pathlib

import torch

LR, MIN_LR = 0.1, 0.01


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = make(optimizer, steps)
    course = []
    for _ in range(steps):
        course.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(course) < steps:
            scheduler.step()
    return course


def one_cycle(optimizer, steps):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=steps, cycle_momentum=False)


def cosine(optimizer, steps):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=MIN_LR)


golden = {
    "torch": torch.__version__,
    "lr": LR,
    "minLr": MIN_LR,
    "oneCycle": [rates(one_cycle, steps) for steps in (1, 2, 3, 4, 5, 7, 10, 20)],
    "cosine": [rates(cosine, steps) for steps in (1, 2, 3, 7, 12)],
}
path = pathlib.Path(__file__).with_name("schedules.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
