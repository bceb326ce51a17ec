"""How fast this is: the authors' algorithm and ours beside the rate of a matrix product.

`selfrepair bench` asks here; nothing that measures a run does.
"""
