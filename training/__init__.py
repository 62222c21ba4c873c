"""Duet's training package: distils both students from good images and exports one merged ONNX graph."""
