"""What a computation touched: pages of a mapped file, counted, checked and described.

Start with `lab`. `arithmetic` turns byte ranges into page ranges and imports only numpy.
"""
