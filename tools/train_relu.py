r"""Train stories-relu from the bundled model: ReLU in place of SiLU, many neurons exactly 0.

    python tools/train_relu.py --model data/stories --corpus corpus --out run-relu

The same arguments, library versions and kind of processor give the same weights.
"""

import torch
from fine_tune import arguments, fine_tune, start
from story_feed_forwards import ReLUFeedForward
from story_model import PARAMS, StoryModel


def with_relu(dense):
    """A StoryModel with the weights of a dense one and ReLU in place of SiLU."""
    model = StoryModel(PARAMS, dense.output.out_features, ReLUFeedForward)
    model.load_state_dict(dense.state_dict())
    return model


def l1_penalty(weight):
    """A penalty for fine_tune(): weight times the mean size of all activations."""

    def penalty(model, real):
        activations = [layer.feed_forward.activations.flatten(0, 1)[real] for layer in model.layers]
        size = torch.stack([a.float().abs().mean() for a in activations]).mean()
        zeros = sum(float((a == 0).float().mean()) for a in activations) / len(activations)
        return weight * size, {"size": size.item(), "zeros": zeros}

    return penalty


def parser():
    """The arguments and their defaults."""
    own = arguments("Train stories-relu.", n_steps=200, peak_lr=7e-4)
    own.add_argument("--l1-weight", type=float, default=0.6)
    return own


def main():
    args = parser().parse_args()
    dense, train, held_out = start(args)
    fine_tune(with_relu(dense), dense, train, held_out, args, l1_penalty(args.l1_weight))


if __name__ == "__main__":
    main()
