"""Export: write and publish the model directory."""
