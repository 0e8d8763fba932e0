"""The journal of a run: durable results of images, from which the output parts are made."""
