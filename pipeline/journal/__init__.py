"""The journal of a run: results of images, durable as soon as they are found, from which parts are made."""
