"""The output layer on a CPU: linear cross entropy and cross entropy, forward and backward, beside PyTorch's own."""
