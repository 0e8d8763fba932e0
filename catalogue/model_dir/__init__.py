"""The model directory: the contract between the trainer and everything that classifies."""
