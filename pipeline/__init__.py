"""A catalogue and a model directory to a run directory: batch classification with Apache Beam."""
