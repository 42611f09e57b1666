"""A model as a decoder without PyTorch takes it: ONNX graphs, and a file of small arrays. docs/WEB.md describes it."""
