"""Two other feed-forwards for StoryModel: ReLU in place of SiLU, and a mixture of experts.

Both keep what they last computed, for a penalty or for a count: the first its `activations`, the
second its `routing`.
"""

import torch
import torch.nn.functional as F
from story_model import FeedForward
from torch import nn

N_EXPERTS = 8
N_EXPERTS_PER_TOKEN = 2
EXPERT_DIM = 192


class ReLUFeedForward(FeedForward):
    """relu(w1 x) * (w3 x), then w2: exactly 0 wherever the gate is not positive."""

    def forward(self, x):
        """Transform every position of x (batch, positions, dim); keeps activations (..., width)."""
        self.activations = F.relu(self.w1(x)) * self.w3(x)
        return self.w2(self.activations)


class MixtureOfExperts(nn.Module):
    """Mixtral's rule: a softmax over all experts, the largest two, divided by their sum.

    Source: MixtralSparseMoeBlock in transformers.
    """

    def __init__(self, dim, width):
        """The width of the dense feed-forward is not needed: every expert has EXPERT_DIM."""
        super().__init__()
        self.router = nn.Parameter(torch.zeros(N_EXPERTS, dim))
        self.w1 = nn.Parameter(torch.zeros(N_EXPERTS, EXPERT_DIM, dim))
        self.w2 = nn.Parameter(torch.zeros(N_EXPERTS, dim, EXPERT_DIM))
        self.w3 = nn.Parameter(torch.zeros(N_EXPERTS, EXPERT_DIM, dim))

    def route(self, x):
        """The choice for every row of x (n, dim), in float32 even under autocast.

        Returns:
            (shares, chosen, probabilities): (n, 2) float32 that sum to 1, (n, 2) int64 with the
            most probable expert first, (n, n_experts) float32.
        """
        with torch.autocast("cpu", enabled=False):
            probabilities = F.linear(x.float(), self.router).softmax(dim=-1)
        shares, chosen = probabilities.topk(N_EXPERTS_PER_TOKEN, dim=-1)
        return shares / shares.sum(dim=-1, keepdim=True), chosen, probabilities

    def forward(self, x):
        """Transform every position of x (batch, positions, dim); keeps what route() returned."""
        rows = x.flatten(0, 1)
        self.routing = shares, chosen, _ = self.route(rows)
        by_expert = chosen.flatten().argsort(stable=True)  # (row, choice) pairs, expert by expert
        counts = chosen.flatten().bincount(minlength=N_EXPERTS).tolist()
        inputs = rows.index_select(0, by_expert // N_EXPERTS_PER_TOKEN).split(counts)
        outputs = torch.cat(
            [
                F.linear(F.silu(F.linear(part, w1)) * F.linear(part, w3), w2)
                for part, w1, w2, w3 in zip(inputs, self.w1, self.w2, self.w3, strict=True)
            ]
        )
        back = torch.empty_like(by_expert)
        back[by_expert] = torch.arange(len(by_expert))
        pairs = outputs.index_select(0, back).view(*chosen.shape, -1)
        return (shares.unsqueeze(-1) * pairs).sum(dim=1).view(x.shape)


def load_balance(routing):
    """Switch's loss: 1 where all experts are used and probable alike, up to n_experts where one is.

    Args:
        routing: what route() returned for the rows that count, padding left out.
    Source: Fedus, Zoph and Shazeer 2021, equation 4 (arXiv 2101.03961), for two choices as Mixtral.
    """
    _, chosen, probabilities = routing
    used = chosen.flatten().bincount(minlength=N_EXPERTS) / chosen.numel()
    return N_EXPERTS * (used * probabilities.mean(dim=0)).sum()
