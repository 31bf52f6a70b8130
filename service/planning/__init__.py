"""Planning of a call: strategy and device, estimated cost, and admission by limits.

planner     the plan of a call, or the error of the limit that it exceeds
cost_model  measured costs of the strategies on each device
limits      the limits of a call
"""
