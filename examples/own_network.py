"""A network of your own, for images beside numbers: `network = "own_network:factory"` takes it for every agent.

python examples/own_network.py
"""

import torch
from torch import Tensor, nn

import morl
from morl.learning.types import NetworkShape


class OwnNetwork(nn.Module):
    """An encoder of the image, and a head over its features and all other numbers."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        (image,) = shape.images  # (channels, height, width)
        self.encoder = nn.Sequential(nn.Conv2d(image.channels, 8, 3, padding=1), nn.SiLU(), nn.Flatten())
        features = 8 * image.height * image.width
        self.hidden = nn.Linear(features + shape.columns, 32)
        self.norm = nn.LayerNorm(32)
        self.output = nn.Linear(32, shape.outputs)

    def forward(self, columns: Tensor, image: Tensor) -> Tensor:
        """Return [batch, outputs] for columns [batch, column] and the image [batch, channel, row, column] in [0, 1]."""
        features = torch.cat([self.encoder(image), columns], dim=1)
        outputs: Tensor = self.output(nn.functional.silu(self.norm(self.hidden(features))))
        return outputs


def factory(shape: NetworkShape) -> nn.Module:
    """Return a network for `shape.role`, "actor" or "critic"."""
    return OwnNetwork(shape)


def main(total_steps: int = 600, run_dir: str = "runs/own-network") -> None:
    run = morl.train(
        "pd-morl",
        "images/deep-sea-treasure-v0",
        total_steps=total_steps,
        run_dir=run_dir,
        overwrite=True,
        config={"network": "own_network:factory", "updates_per_step": 0.1},
    )
    policy = run.policy([0.5, 0.5])
    policy.save(f"{run_dir}/policy.pt")
    loaded = morl.load_policy(f"{run_dir}/policy.pt")  # the module is imported already; elsewhere: trust=True
    print(f"{len(run.front.points)} points, by {loaded.data.spec.network}")


if __name__ == "__main__":
    main()
