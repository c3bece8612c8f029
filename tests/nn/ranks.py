"""One process of several that train a network together; started by `test_distributed`."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import softmax as sm

ROWS = 12


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(6, 8)
        self.head = sm.nn.LinearCrossEntropy(8, 11, label_smoothing=0.1)

    def forward(self, x, y):
        return self.head(torch.tanh(self.body(x)), y)


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, 6, generator=generator), torch.randint(11, (ROWS,), generator=generator)


def steps(network, x, y) -> list[float]:
    """Losses of three steps; the gradients of the last one stay."""
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = network(x, y)
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    return losses


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach()


def main(way: str, rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=timedelta(seconds=90))
    network = Network()
    if way == "ddp":
        trained = torch.nn.parallel.DistributedDataParallel(network)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh("cpu", (size,))
        fully_shard(network.head, mesh=mesh)
        trained = fully_shard(network, mesh=mesh)
        register_fsdp_forward_method(network.head, "topk")
    x, y = (part[rank::size] for part in data())
    losses = steps(trained, x, y)
    parameters = {name.removeprefix("module."): whole(p) for name, p in trained.state_dict().items()}
    with torch.no_grad():
        best = network.head.topk(torch.tanh(x @ parameters["body.weight"].T + parameters["body.bias"]), 2).indices
    torch.save({"losses": losses, "parameters": parameters, "best": best}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
