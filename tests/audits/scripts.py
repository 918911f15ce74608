"""For each audit a tiny script that fails it and one that passes it: a healthy training with one part exchanged."""

from __future__ import annotations

HEALTHY = {
    "imports": "",
    "data": "x, y = torch.randn(320, 3, 8, 8), torch.randint(0, 4, (320,))",
    "dataset": "TensorDataset(x, y)",
    "loader": "DataLoader(dataset, batch_size=16, shuffle=True)",
    "model": """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 8 * 8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))""",
    "parameters": "model.parameters()",
    "optimizer": "torch.optim.SGD({parameters}, lr=0.01, momentum=0.9, fused=True)",
    "setup": "",
    "criterion": "nn.CrossEntropyLoss()",
    "answer": "model(inputs)",
    "target": "labels",
    "before_step": "optimizer.zero_grad()",
    "backward": "loss.backward()",
    "step": "optimizer.step()",
    "after_step": "",
    "evaluation": """model.eval()
    with torch.no_grad():
        model(x[:16])
    model.train()""",
}
TEMPLATE = """
{imports}
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
{data}
dataset = {dataset}
loader = {loader}

{model}

model = Net()
optimizer = {optimizer}
criterion = {criterion}
{setup}
for epoch in range(3):
    for inputs, labels in loader:
        {before_step}
        loss = criterion({answer}, {target})
        {backward}
        {step}
        {after_step}
    {evaluation}
"""
_ATTENTION = """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        q, k, v = self.qkv(x.flatten(2).mT[..., :3].repeat(1, 1, 3)[..., :8]).chunk(3, -1)
        {attend}
        return self.head(y.mean(1))"""
_FUSED = "y = nn.functional.scaled_dot_product_attention(*(t[:, None] for t in (q, k, v)){more})[:, 0]"
_FLATTEN = """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(128, 4)

    def forward(self, x):
        return self.head({flat})"""
_VALUES = {
    "data": "x, y = torch.randn(320, 3, 8, 8), torch.randn(320)",
    "criterion": "nn.MSELoss()",
    "model": HEALTHY["model"].replace("8 * 8 * 8, 4", "8 * 8 * 8, 1"),
}
_BINARY = {
    **_VALUES,
    "data": "x, y = torch.randn(320, 3, 8, 8), torch.rand(320)",
    "criterion": "nn.BCEWithLogitsLoss()",
}
_SLOW = """class Slow(Dataset):
    def __len__(self):
        return 320

    def __getitem__(self, i):
        time.sleep(0.002)
        return x[i], y[i]"""
_BIG = (
    HEALTHY["model"]
    .replace("self.head = ", "self.more = nn.Linear(1500, 1500)\n        self.head = ")
    .replace("return self.head(", "return 0 * self.more.weight.sum() + self.head(")
)
_WIDE = HEALTHY["model"].replace("3, 8, 3", "3, 256, 3").replace("(8)", "(256)").replace("8 * 8 * 8", "256 * 64")
_DRAWING = """class Drawing(Dataset):
    def __init__(self):
        self.own = random.Random(0)

    def __len__(self):
        return 320

    def __getitem__(self, i):
        return x[i] * {draw}, y[i]"""
_HIDDEN = """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential({layers})

    def forward(self, x):
        return self.layers(x.flatten(1){more})"""
_EMBEDDING = _HIDDEN.format(
    layers="nn.Embedding({rows}, 8), nn.Flatten(), nn.Linear(32, 4)", more="[:, :4].abs().mul(40).long() % {rows}"
)
_ACCUMULATING = {
    "setup": "count = 0",
    "before_step": "count += 1",
    "step": "if count % 4 == 0: optimizer.step(); optimizer.zero_grad()",
}
_SCALING = {
    "setup": "scaler = torch.amp.GradScaler('cpu')",
    "answer": "torch.autocast('cpu', dtype=torch.bfloat16)(model)(inputs)",
    "backward": "scaler.scale(loss).backward()",
    "step": "scaler.step(optimizer); scaler.update()",
}
_DISTRIBUTED = """store = torch.distributed.HashStore()
torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
model = nn.parallel.DistributedDataParallel(model, find_unused_parameters={search})"""
_TURNED = {
    "model": HEALTHY["model"].replace("self.norm(self.conv(x))", "turned(self.norm(turned(self.conv(turned(x)))))"),
    "imports": "def turned(x): return x.mT.contiguous().mT.contiguous()",
}
FAILING: dict[str, dict[str, str]] = {
    "input-wait": {
        "imports": "import time",
        "data": f"{HEALTHY['data']}\n{_SLOW.format(s=0.002)}",
        "dataset": "Slow()",
    },
    "no-shuffle": {"loader": "DataLoader(dataset, batch_size=16)"},
    "folded-batch": {"model": _FLATTEN.format(flat="x.view(-1, 128)"), "target": "labels.repeat(2)[:24]"},
    "double-softmax": {"answer": "model(inputs).softmax(1)"},
    "double-sigmoid": {**_BINARY, "answer": "model(inputs).squeeze(1).sigmoid()"},
    "nll-without-log": {"criterion": "nn.NLLLoss()", "answer": "model(inputs).softmax(1)"},
    "broadcast-loss": _VALUES,
    "bias-before-norm": {"model": HEALTHY["model"].replace(", bias=False", "")},
    "float64": {"data": HEALTHY["data"].replace("8, 8)", "8, 8).double()"), "setup": "model.double()"},
    "hand-written-attention": {
        "model": _ATTENTION.format(attend="y = torch.softmax(q @ k.mT / 8**0.5, -1) @ v"),
    },
    "layout-thrash": _TURNED,
    "evaluation-with-gradients": {"evaluation": "model.eval()\n    model(x[:16])\n    model.train()"},
    "parameters-left-out": {"parameters": "model.head.parameters()"},
    "never-a-gradient": {
        "answer": "(model(inputs), model.norm(model.conv(inputs)).detach())[0].detach() + model.head.bias"
    },
    "missing-zero-grad": {"before_step": "pass"},
    "scheduler-first": {
        "setup": "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)",
        "before_step": "optimizer.zero_grad(); scheduler.step()",
    },
    "per-tensor-update": {"model": _BIG, "optimizer": "torch.optim.Adam({parameters}, foreach=False)"},
    "page-faults": {"after_step": "[torch.ones(12_000_000) for _ in range(2)]"},
    "too-many-threads": {"setup": "torch.set_num_threads(64)"},
    "debug-switches": {"setup": "torch.autograd.set_detect_anomaly(True)"},
    "denormals": {"answer": "model(inputs) * 1e-38"},
    "garbage-collection": {"imports": "import gc\nkept = [[i] for i in range(300_000)]", "after_step": "gc.collect()"},
    "calls-every-step": {"after_step": "torch.save(model.state_dict(), 'last.pt')"},
    "same-augmentation": {
        "imports": "import random",
        "data": f"{HEALTHY['data']}\n{_DRAWING.format(draw='self.own.random()')}",
        "dataset": "Drawing()",
        "loader": "DataLoader(dataset, batch_size=16, shuffle=True, num_workers=2)",
    },
    "evaluation-mode": {"evaluation": HEALTHY["evaluation"].replace("\n    model.train()", "")},
    "math-attention": {"model": _ATTENTION.format(attend=_FUSED.format(more=", dropout_p=0.1"))},
    "odd-shapes": {"model": _HIDDEN.format(layers="nn.Linear(192, 601), nn.ReLU(), nn.Linear(601, 4)", more="")},
    "large-logits": {"model": _HIDDEN.format(layers="nn.Linear(4, 300_000)", more="[:, :4]")},
    "dense-embedding": {"model": _EMBEDDING.format(rows=200_000)},
    "one-hot-product": {
        "model": _HIDDEN.format(layers="nn.Linear(4096, 4)", more="[:, 0].mul(99).long() % 4096"),
        "answer": "model.layers(nn.functional.one_hot(inputs.flatten(1)[:, 0].mul(99).long() % 4096, 4096).float())",
        "evaluation": "",
    },
    "recompiles": {
        "setup": "torch._dynamo.config.recompile_limit = 2\ncount = 0\n"
        "model = torch.compile(model, backend='eager', dynamic=False)",
        "before_step": "count += 1; optimizer.zero_grad()",
        "answer": "model(inputs[count % 8 :])",
        "target": "labels[count % 8 :]",
    },
    "clip-per-tensor": {
        "model": _HIDDEN.format(layers="*[nn.Linear(192, 192) for _ in range(8)], nn.Linear(192, 4)", more=""),
        "step": "nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False); optimizer.step()",
    },
    "undivided-accumulation": _ACCUMULATING,
    "scaler-with-bf16": _SCALING,
    "non-finite": {"answer": "model(inputs) * float('nan')"},
    "graph-kept-alive": {"setup": "total = 0", "after_step": "total += loss"},
    "launch-bound": {"answer": "model(inputs) + 0 * sum(labels.sum() for _ in range(300))"},
    "data-parallel": {"setup": _DISTRIBUTED.format(search=True)},
}
HEALTHY_PASSES = (
    *("no-shuffle", "double-softmax", "bias-before-norm", "float64", "layout-thrash", "evaluation-with-gradients"),
    *("evaluation-mode", "parameters-left-out", "never-a-gradient", "missing-zero-grad", "non-finite", "page-faults"),
    *("too-many-threads", "debug-switches", "denormals", "garbage-collection", "calls-every-step"),
)
"""Audits that have something to look at in the healthy training, and find nothing wrong."""
PASSING: dict[str, dict[str, str]] = {
    "input-wait": {"model": _WIDE, "answer": "sum(model(inputs) for _ in range(12))"},
    "folded-batch": {"model": _FLATTEN.format(flat="x.view(x.shape[0], -1)").replace("128", "192")},
    "double-sigmoid": {**_BINARY, "answer": "model(inputs).squeeze(1)"},
    "nll-without-log": {"criterion": "nn.NLLLoss()", "answer": "model(inputs).log_softmax(1)"},
    "broadcast-loss": {**_VALUES, "answer": "model(inputs).squeeze(1)"},
    "hand-written-attention": {
        "model": _ATTENTION.format(attend=_FUSED.format(more="")),
    },
    "scheduler-first": {
        "setup": "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)",
        "after_step": "scheduler.step()",
    },
    "same-augmentation": {
        **FAILING["same-augmentation"],
        "data": f"{HEALTHY['data']}\n{_DRAWING.format(draw='random.random()')}",
    },
    "odd-shapes": {"model": _HIDDEN.format(layers="nn.Linear(192, 608), nn.ReLU(), nn.Linear(608, 4)", more="")},
    "math-attention": {"model": _ATTENTION.format(attend=_FUSED.format(more=""))},
    "undivided-accumulation": {
        **_ACCUMULATING,
        "criterion": "(lambda answer, target: nn.functional.cross_entropy(answer, target) / 4)",
    },
    "scaler-with-bf16": {**_SCALING, "answer": "model(inputs)"},
    "graph-kept-alive": {"setup": "total = 0", "after_step": "total += loss.item()"},
    "per-tensor-update": {"optimizer": "torch.optim.Adam({parameters}, fused=True)"},
    "large-logits": {"model": _HIDDEN.format(layers="nn.Linear(4, 304)", more="[:, :4]")},
    "dense-embedding": {"model": _EMBEDDING.format(rows=200)},
    "one-hot-product": {"model": _EMBEDDING.format(rows=200)},
    "recompiles": {"setup": "model = torch.compile(model, backend='eager', dynamic=False)"},
    "launch-bound": {"model": _WIDE},
    "data-parallel": {"setup": _DISTRIBUTED.format(search=False)},
    "clip-per-tensor": {
        **FAILING["clip-per-tensor"],
        "step": "nn.utils.clip_grad_norm_(model.parameters(), 1.0); optimizer.step()",
    },
}

ALSO_FAILING: dict[str, tuple[str, dict[str, str]]] = {
    "a schedule with a step of its own": (
        "scheduler-first",
        {
            "setup": "scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10)",
            "before_step": "optimizer.zero_grad(); scheduler.step()",
        },
    ),
    "what an activation gives": ("nll-without-log", {"criterion": "nn.NLLLoss()", "answer": "model(inputs).tanh()"}),
    "now and then, and for long": (
        "calls-every-step",
        {
            "imports": "import time\nclass Slow:\n    def __reduce__(self): time.sleep(0.1); return int, ()",
            "setup": "count = 0",
            "after_step": "count += 1; count % 4 or torch.save(Slow(), 'last.pt')",
        },
    ),
}
ALSO_PASSING: dict[str, tuple[str, dict[str, str]]] = {
    "a warm-up before a schedule": (
        "scheduler-first",
        {
            "setup": "from torch.optim.lr_scheduler import LinearLR, SequentialLR, StepLR\n"
            "parts = [LinearLR(optimizer, 0.1, 1.0, 5), StepLR(optimizer, 10)]\n"
            "scheduler = SequentialLR(optimizer, parts, [5])",
            "after_step": "scheduler.step()",
        },
    ),
    "an output that is used beside its norm": (
        "bias-before-norm",
        {
            "model": HEALTHY["model"]
            .replace(", bias=False", "")
            .replace("self.norm(self.conv(x))", "(lambda y: self.norm(y) + y)(self.conv(x))")
        },
    ),
}
"""What is easily taken for wrong."""


def script(parts: dict[str, str]) -> str:
    """The healthy training with these parts in the place of its own."""
    chosen = {**HEALTHY, **parts}
    chosen["optimizer"] = chosen["optimizer"].format(parameters=chosen["parameters"])
    return TEMPLATE.format(**chosen)
