"""Ways to make a model smaller, on the same axes: bytes and pages per token, and nats lost.

Each is a plain Model with other weights, a tap, or another function for the feed-forward block.
`cost` says which bytes and pages a token then needs.
"""
