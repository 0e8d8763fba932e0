"""Code shared by the trainer and the pipeline: images, lists, storage, model directory, command line and HTML."""
