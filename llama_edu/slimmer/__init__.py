"""Could a model be slimmer? What a token could do without, what it costs, and what it saves.

| module | what is in it |
|---|---|
| `texts` | two texts for a model: one to learn thresholds from, another one to score |
| `activations` | how large the neurons of each layer are, and thresholds for a share of them |
| `masks` | which neurons a token keeps: by an oracle, by the gate, or a fixed set |
| `hot_cold` | which neurons are among the largest of many tokens; an order, the hot ones first |
| `unions` | what neighboring tokens need together |

A loss (`quality.losses`) is always a paired difference with a standard error, a saving always a set
of pages. Nothing here is a speed.
"""
