"""How the weights came to be: data, losses, the training loop, export."""
