"""Code shared by the trainer and the pipeline: images, lists of images, storage, model directories, CLI and HTML."""
