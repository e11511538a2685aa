"""ONNX classifiers as torch modules that can be trained and exported, with any number of images at a time.

| module | what it does |
| --- | --- |
| `graph` | reads a file, and refuses what is no float classifier of one input and one output |
| `value` | what is known of a tensor of the graph before anything runs: its shape with several batches |
| `node` | one operation and its attributes, as the operators see it |
| `operators` | what each ONNX operator is in torch |
| `reshaping` | which size of a constant shape stands for the batch |
| `lowering` | goes through the graph once and makes the steps of the module |
| `module` | the module |
| `checking` | compares it with ONNX Runtime, image by image |
| `convert` | all of that, from a file to the module |
"""

from onnx_models.to_torch.convert import module_of_onnx
from onnx_models.to_torch.module import OnnxModule

__all__ = ["OnnxModule", "module_of_onnx"]
