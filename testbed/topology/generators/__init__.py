"""Networks made up from a seed: ISPs of a known shape, and a whole Internet of tiers.

Options come in, the plain data of a topology file goes out. The same options give the same data on every
machine: random numbers come from `random.Random`, whose streams stay the same between versions of Python
(those of NumPy and the graphs of networkx may change with theirs), and numbers are rounded before they are
compared.
"""
