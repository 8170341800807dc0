#!/usr/bin/env python3
"""Writes features.safetensors: features, input gradients, Grad-CAM and a perceptual distance of small VGGs by PyTorch.

    python3 test/golden/make_features.py     (needs torch and torchvision; made with torch 1.13; a second)

For `vgg` and `vgg-bn` (torchvision's make_layers, three blocks): the weights in torchvision's names, two images and two
targets, the values after some layers, and gradients with respect to the images. All is computed in float64 and in
evaluation. Weights are drawn again until no decision of a ReLU or a pool is closer than MARGIN.
"""
import pathlib

import torch
import torch.nn.functional as F
from make import write_safetensors
from torchvision.models.vgg import make_layers

FOLDER = pathlib.Path(__file__).parent
MARGIN = 3e-5
BLOCKS = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M"]
INPUT = (3, 20, 24)
CLASSES = [3, 1]
LABELS = [4, 0]
# Indices in features: torchvision's positions of the literature's layers.
PLACES = {
    "vgg": dict(conv1_1=0, relu1_2=3, pool1=4, conv2_2=7, relu2_2=8, relu3_3=15, pool3=16),
    "vgg-bn": dict(conv1_1=0, bn1_1=1, relu1_2=5, pool1=6, conv2_2=10, relu2_2=12, relu3_3=22, pool3=23),
}


class Vgg(torch.nn.Module):
    def __init__(self, batch_norm):
        super().__init__()
        self.features = make_layers(BLOCKS, batch_norm)
        self.classifier = torch.nn.Sequential(
            torch.nn.Linear(8 * 2 * 3, 10), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(10, 5)
        )

    def forward(self, x):
        self.values = []
        self.margin = 1.0
        for module in self.features:
            if isinstance(module, torch.nn.ReLU):
                self.note(x.abs().min(), x)
                x = F.relu(x)
            else:
                if isinstance(module, torch.nn.MaxPool2d):
                    windows = F.unfold(x.flatten(0, 1)[:, None], 2, stride=2).transpose(1, 2).flatten(0, 1)
                    best = windows.topk(2, 1).values
                    best = best[best[:, 0] > 0]
                    self.note((best[:, 0] - best[:, 1]).min(), x)
                x = module(x)
            if x.requires_grad:
                x.retain_grad()
            self.values.append(x)
        hidden = self.classifier[0](x.flatten(1))
        self.note(hidden.abs().min(), hidden)
        return self.classifier[1:](hidden)

    def note(self, distance, values):
        self.margin = min(self.margin, (distance / values.abs().max()).item())


def draw(name):
    for seed in range(1000):
        torch.manual_seed(seed)
        net = Vgg(name == "vgg-bn")
        for m in net.modules():
            if isinstance(m, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(m.weight)
                torch.nn.init.normal_(m.bias, std=0.2)
            if isinstance(m, torch.nn.BatchNorm2d):
                for tensor in (m.weight, m.bias, m.running_mean, m.running_var):
                    torch.nn.init.uniform_(tensor.data, 0.3, 1.2)
        net = net.double().eval()
        images, targets = torch.randn(2, 2, *INPUT).double()
        images, targets = images.float().double(), targets.float().double()
        net.load_state_dict({k: v.float().double() if v.is_floating_point() else v for k, v in net.state_dict().items()})
        margins = []
        for x in (images, targets):
            net(x)
            margins.append(net.margin)
        if min(margins) > MARGIN:
            return net, images, targets
    raise SystemExit(f"{name}: no draw has the margin")


def golden(name):
    net, images, targets = draw(name)
    out = {f"weights/{k}": v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    out |= dict(images=images, targets=targets)
    net(targets)
    wanted = net.values[PLACES[name]["relu2_2"]].detach()

    def gradient(of):
        x = images.clone().requires_grad_()
        of(net(x)).backward()
        return x.grad

    def scores(logits):
        return logits[range(2), CLASSES].sum()

    def perceptual(_):
        distances = (net.values[PLACES[name]["relu2_2"]] - wanted).square().flatten(1).mean(1)
        out["perceptual"] = distances.detach()
        return distances.sum()

    def style(_):
        total = 0
        for layer in ("conv1_1", "relu1_2", "pool1", "relu3_3"):
            maps = net.values[PLACES[name][layer]].flatten(2)
            total = total + (maps @ maps.transpose(1, 2) / maps.shape[2]).square().sum()
        return total

    out["gradient/classes"] = gradient(scores)
    out["cam/gradient"] = net.values[PLACES[name]["relu3_3"]].grad.clone()
    for layer, place in PLACES[name].items():
        out[f"features/{layer}"] = net.values[place].detach()
    maps, slopes = out["features/relu3_3"], out["cam/gradient"]
    cam = F.relu((slopes.mean((2, 3), keepdim=True) * maps).sum(1))
    out["cam"] = cam / cam.flatten(1).max(1).values[:, None, None]
    out["gradient/labels"] = gradient(lambda logits: F.cross_entropy(logits, torch.tensor(LABELS)))
    out["gradient/perceptual"] = gradient(perceptual)
    out["gradient/style"] = gradient(style)
    return {f"{name}/{k}": v.float() for k, v in out.items()}


tensors = golden("vgg") | golden("vgg-bn")
write_safetensors(FOLDER / "features.safetensors", {k: v.contiguous().numpy() for k, v in tensors.items()})
