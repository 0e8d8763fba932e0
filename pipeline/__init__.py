"""Batch classification with Apache Beam: label every image of a catalogue and write a run directory."""
