"""What the trainer and the pipeline share: images, lists, storage, the model directory, the command line, HTML."""
