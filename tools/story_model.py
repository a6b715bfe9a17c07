"""The network that train_stories.py trains, in PyTorch: LLaMA-1 with Meta's tensor names.

No cache and no generation: each call sees whole sequences, and attention cannot see the future.
"""

import torch
import torch.nn.functional as F
from torch import nn

PARAMS = {
    "dim": 256,
    "multiple_of": 256,
    "n_heads": 8,
    "n_layers": 6,
    "norm_eps": 1e-06,
    "vocab_size": -1,
}
ROPE_THETA = 10000.0
MAX_SEQ_LEN = 512


def hidden_dim(dim, multiple_of):
    """Width inside the feed-forward by Meta's rule: two thirds of 4 * dim, rounded up."""
    width = int(2 * (4 * dim) / 3)
    return multiple_of * ((width + multiple_of - 1) // multiple_of)


def rope_freqs(head_dim):
    """(head_dim / 2,) float32: the angle in radians by which each pair turns per position."""
    return 1.0 / ROPE_THETA ** (torch.arange(0, head_dim, 2)[: head_dim // 2].float() / head_dim)


class RMSNorm(nn.Module):
    """Each position divided by its root mean square, in float32, times a learned weight."""

    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        """Return x (..., dim) normalized, as float32 whatever its type."""
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate_pairs(x, cos, sin):
    """Turn every interleaved pair (2i, 2i + 1) of x (batch, heads, positions, head_dim)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Each position attends to itself and those before; cos, sin: (positions, head_dim / 2)."""

    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, dim, bias=False)
        self.wv = nn.Linear(dim, dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(self, x, cos, sin):
        """Mix the positions of x (batch, positions, dim)."""
        batch, positions, dim = x.shape
        split = (batch, positions, self.n_heads, dim // self.n_heads)
        q, k, v = (w(x).view(split).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        q, k = rotate_pairs(q, cos, sin).to(v.dtype), rotate_pairs(k, cos, sin).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(mixed.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    """SwiGLU: w1 is the gate, w3 the way up, w2 the way down."""

    def __init__(self, dim, width):
        super().__init__()
        self.w1 = nn.Linear(dim, width, bias=False)
        self.w2 = nn.Linear(width, dim, bias=False)
        self.w3 = nn.Linear(dim, width, bias=False)

    def forward(self, x):
        """Transform every position of x (batch, positions, dim) independently."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input."""

    def __init__(self, params, make_feed_forward):
        super().__init__()
        dim = params["dim"]
        self.attention = Attention(dim, params["n_heads"])
        self.feed_forward = make_feed_forward(dim, hidden_dim(dim, params["multiple_of"]))
        self.attention_norm = RMSNorm(dim, params["norm_eps"])
        self.ffn_norm = RMSNorm(dim, params["norm_eps"])

    def forward(self, x, cos, sin):
        """Add both changes to x (batch, positions, dim)."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + self.feed_forward(self.ffn_norm(x))


class StoryModel(nn.Module):
    """Token ids (batch, positions) in, logits (batch, positions, vocab_size) out.

    make_feed_forward(dim, width) returns the feed-forward of one layer.
    """

    def __init__(self, params, vocab_size, make_feed_forward=FeedForward):
        super().__init__()
        dim = params["dim"]
        self.tok_embeddings = nn.Embedding(vocab_size, dim)
        self.layers = nn.ModuleList(
            Block(params, make_feed_forward) for _ in range(params["n_layers"])
        )
        self.norm = RMSNorm(dim, params["norm_eps"])
        self.output = nn.Linear(dim, vocab_size, bias=False)
        freqs = rope_freqs(dim // params["n_heads"])
        angles = torch.outer(torch.arange(MAX_SEQ_LEN).float(), freqs)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # Matrices that write into the residual stream start smaller: their outputs add up.
                small = name.endswith(("wo.weight", "w2.weight"))
                shrink = (2 * params["n_layers"]) ** -0.5 if small else 1.0
                nn.init.normal_(weight, std=0.02 * shrink)

    def forward(self, tokens):
        """Return the logits of the next token at every position; positions start at 0."""
        n_positions = tokens.shape[1]
        cos, sin = self.cos[:n_positions], self.sin[:n_positions]
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.output(self.norm(x))


def sum_loss(model, tokens):
    """Summed loss in nats and the number of predicted tokens; negative ids are padding.

    Args:
        tokens: (batch, positions) int64, each row <s> + story + </s> + padding of -1.
    """
    targets = tokens[:, 1:]
    logits = model(tokens[:, :-1].clamp(min=0)).float()
    logits, targets = logits.flatten(0, 1), targets.flatten()
    loss = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    return loss, int((targets >= 0).sum())
