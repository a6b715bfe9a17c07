r"""Train the mixture of experts stories-moe from the bundled model.

    python tools/train_moe.py --model data/stories --corpus corpus --out run-moe

The same arguments, library versions and kind of processor give the same weights.
"""

from copy import deepcopy

import torch
from cut_experts import cut_experts, feed_forward_inputs
from fine_tune import arguments, fine_tune, start
from story_feed_forwards import load_balance


def with_experts(dense, sequences, seed):
    """A copy of a dense StoryModel, its feed-forwards cut into experts for these sequences."""
    model = deepcopy(dense)
    generator = torch.Generator().manual_seed(seed)
    inputs = feed_forward_inputs(dense, sequences)
    for layer, x in zip(model.layers, inputs, strict=True):
        layer.feed_forward = cut_experts(layer.feed_forward, x, generator)
    return model


def balance_penalty(weight):
    """A penalty for fine_tune(): weight times the load-balancing loss, mean over the layers."""

    def penalty(model, real):
        routings = [layer.feed_forward.routing for layer in model.layers]
        kept = [[part[real] for part in routing] for routing in routings]
        loss = torch.stack([load_balance(routing) for routing in kept]).mean()
        return weight * loss, {"balance": loss.item()}

    return penalty


def parser():
    """The arguments and their defaults."""
    own = arguments("Train stories-moe.", n_steps=260, peak_lr=1e-3)
    own.add_argument("--n-stories-to-cut", type=int, default=48)
    own.add_argument("--balance-weight", type=float, default=0.02)
    return own


def main():
    args = parser().parse_args()
    dense, train, held_out = start(args)
    model = with_experts(dense, train[: args.n_stories_to_cut], args.seed)
    fine_tune(model, dense, train, held_out, args, balance_penalty(args.balance_weight))


if __name__ == "__main__":
    main()
