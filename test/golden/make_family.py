"""Names and shapes of torchvision's VGG networks: python3 make_family.py > family-shapes.json"""

import json

import torchvision

names = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
members = {}
for name in names:
    model = getattr(torchvision.models, name)(init_weights=False)
    state = model.state_dict()
    members[name.replace("_", "-")] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tensors": {
            key: list(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
        },
    }
print(json.dumps({"torchvision": torchvision.__version__, "members": members}))
