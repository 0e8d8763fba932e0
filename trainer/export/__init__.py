"""Export: writing and publishing of the model directory."""
