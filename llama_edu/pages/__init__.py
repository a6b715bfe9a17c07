"""What a computation touched: pages of a mapped file, counted, checked and put into words.

`lab` is the way in. `arithmetic` turns byte ranges into page ranges and imports nothing of ours.
"""
