"""A mixture of experts cut out of a trained dense feed-forward, to be trained further.

Tokens that enter a layer in similar directions need similar neurons. The directions are grouped
(spherical k-means), each group's mean becomes a row of the router, an expert gets the neurons that
matter most to its tokens, and w2 is fitted once more, by least squares, so that the chosen two give
what all neurons gave.
"""

import torch
import torch.nn.functional as F
from story_feed_forwards import EXPERT_DIM, N_EXPERTS, MixtureOfExperts

SHARPNESS = 2.0
"""Length of the router's rows before training: how strongly the nearest group is preferred."""
N_ROUNDS = 20
RIDGE = 1e-3


@torch.no_grad()
def feed_forward_inputs(model, sequences):
    """What enters each feed-forward of a dense StoryModel: a list of (n_tokens, dim) tensors."""
    found = [[] for _ in model.layers]
    hooks = [
        layer.feed_forward.register_forward_pre_hook(
            lambda _, args, rows=rows: rows.append(args[0].flatten(0, 1))
        )
        for layer, rows in zip(model.layers, found, strict=True)
    ]
    for sequence in sequences:
        model(torch.tensor([sequence]))
    for hook in hooks:
        hook.remove()
    return [torch.cat(rows) for rows in found]


def group_directions(x, generator):
    """Unit vectors (N_EXPERTS, dim) near which the rows of x lie, in groups of equal size.

    Args:
        x: (n, dim) float32.
        generator: chooses the rows to begin with.
    """
    x = F.normalize(x - x.mean(dim=0), dim=-1)
    centers = x[torch.randperm(len(x), generator=generator)[:N_EXPERTS]]
    for _ in range(N_ROUNDS):
        group = balanced(x @ centers.T)
        sums = torch.zeros_like(centers).index_add_(0, group, x)
        centers = F.normalize(sums, dim=-1)
    return centers


def balanced(scores):
    """The best column for each row of scores (n, n_groups), at prices that make groups equal."""
    n, n_groups = scores.shape
    prices = torch.zeros(n_groups)
    step = float(scores.std())
    for _ in range(100):
        group = (scores - prices).argmax(dim=-1)
        share = group.bincount(minlength=n_groups) * (n_groups / n)
        prices += step * (share - 1).clamp(-1, 1)
        step *= 0.95
    return group


@torch.no_grad()
def cut_experts(dense, x, generator):
    """A MixtureOfExperts near a dense FeedForward on the inputs x (n_tokens, dim)."""
    moe = MixtureOfExperts(x.shape[1], dense.w1.out_features)
    moe.router.copy_(SHARPNESS * group_directions(x, generator))
    shares, chosen, _ = moe.route(x)
    activations = F.silu(dense.w1(x)) * dense.w3(x)
    sizes = activations.abs() * dense.w2.weight.norm(dim=0)
    columns = []
    for expert in range(N_EXPERTS):
        share = (shares * (chosen == expert)).sum(dim=-1, keepdim=True)
        neurons = (share * sizes).sum(dim=0).topk(EXPERT_DIM).indices.sort().values
        moe.w1[expert] = dense.w1.weight[neurons]
        moe.w3[expert] = dense.w3.weight[neurons]
        columns.append(share * activations[:, neurons])
    features = torch.cat(columns, dim=1)
    square = (features.T @ features).double()
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    wanted = (features.T @ dense.w2(activations)).double()
    w2 = torch.linalg.solve(square, wanted).float()
    moe.w2.copy_(w2.view(N_EXPERTS, EXPERT_DIM, -1).transpose(1, 2))
    return moe
