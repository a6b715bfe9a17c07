"""What the cards of stories-moe and stories-relu say: losses, and zeros or experts.

Computed in PyTorch. The weights are rounded first, as the file stores them; all arithmetic is
float32.
"""

import torch
from export_huggingface import is_moe
from sample_stories import nats_per_token, ratio_error
from story_feed_forwards import N_EXPERTS, MixtureOfExperts, ReLUFeedForward
from story_model import PARAMS, StoryModel, sum_loss

from llama_edu.quants.blocks import dequantize
from llama_edu.quants.quantize import quantize

#: How the file stores the matrices; with the embedding in fewer bits, stories-relu has 6 MB.
MATRICES, EMBEDDING = "q8_0", "q6_k"


def as_stored(model_state):
    """The weights rounded as they are stored, float32; norms and routers stay as they are."""

    def rounded(name, tensor):
        if tensor.dim() == 1 or name.endswith("router"):
            return tensor.float()
        kind = EMBEDDING if name == "tok_embeddings.weight" else MATRICES
        return torch.from_numpy(dequantize(quantize(tensor.float().numpy(), kind)))

    return {name: rounded(name, tensor) for name, tensor in model_state.items()}


def load_fine_tuned(model_state):
    """The StoryModel with these weights, ReLU or experts as their names say."""
    make = MixtureOfExperts if is_moe(model_state) else ReLUFeedForward
    model = StoryModel(PARAMS, model_state["output.weight"].shape[0], make)
    model.load_state_dict(model_state)
    return model.eval()


@torch.no_grad()
def observed_losses(model, sequences, observe):
    """Summed loss and number of tokens of each sequence, in order; observe(model) after each."""
    sums = []
    for sequence in sequences:
        loss, n_tokens = sum_loss(model, torch.tensor([sequence]))
        sums.append((loss.item(), n_tokens))
        observe(model)
    return sums


class CountedZeros:
    """Exact zeros among the activations of a ReLU model, layer by layer."""

    def __init__(self, n_layers):
        self.n_zeros = torch.zeros(n_layers, dtype=torch.int64)
        self.n_numbers = 0
        self.ever = None

    def __call__(self, model):
        """Count what the last forward pass computed."""
        activations = [layer.feed_forward.activations.flatten(0, 1) for layer in model.layers]
        self.n_zeros += torch.stack([(a == 0).sum() for a in activations])
        self.n_numbers += activations[0].numel()
        ever = torch.stack([(a != 0).any(dim=0) for a in activations])
        self.ever = ever if self.ever is None else self.ever | ever

    def measured(self):
        """zeros: share per layer; never: neurons of each layer that were 0 for every token."""
        return {
            "zeros": (self.n_zeros / self.n_numbers).tolist(),
            "never": (~self.ever).sum(dim=1).tolist(),
        }


class CountedExperts:
    """The experts chosen, layer by layer, and how many a token shares with the one before."""

    def __init__(self, n_layers):
        self.used = torch.zeros(n_layers, N_EXPERTS, dtype=torch.int64)
        self.n_shared = torch.zeros(n_layers, dtype=torch.int64)
        self.n_pairs = 0

    def __call__(self, model):
        """Count what the last forward pass, one sequence, chose."""
        for number, layer in enumerate(model.layers):
            chosen = layer.feed_forward.routing[1]
            self.used[number] += chosen.flatten().bincount(minlength=N_EXPERTS)
            self.n_shared[number] += (chosen[1:, :, None] == chosen[:-1, None, :]).sum()
        self.n_pairs += chosen[1:].numel()

    def measured(self):
        """expert_use: (n_layers, n_experts) shares that sum to 1 per layer; shared: per layer."""
        return {
            "expert_use": (self.used / self.used.sum(dim=1, keepdim=True)).tolist(),
            "shared": (self.n_shared / self.n_pairs).tolist(),
        }


def measure(model_state, dense, sequences):
    """Everything measured, as a dict of numbers.

    Args:
        model_state: the weights as stored, from as_stored().
        dense: the bundled StoryModel, for the loss on the same sequences.
        sequences: held-out stories as ids.
    """
    model = load_fine_tuned(model_state)
    counted = (CountedExperts if is_moe(model_state) else CountedZeros)(len(model.layers))
    sums = observed_losses(model, sequences, counted)
    dense_sums = observed_losses(dense, sequences, lambda _: None)
    differences = [
        (ours - theirs, n) for (ours, n), (theirs, _) in zip(sums, dense_sums, strict=True)
    ]
    return counted.measured() | {
        "held_out_loss": nats_per_token(sums),
        "held_out_loss_error": ratio_error(sums),
        "dense_loss": nats_per_token(dense_sums),
        "dense_loss_error": ratio_error(dense_sums),
        "difference": nats_per_token(differences),
        "difference_error": ratio_error(differences),
        "n_measured": len(sums),
        "n_tokens_measured": sum(n for _, n in sums),
    }
