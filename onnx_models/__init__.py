"""Everything that is done to ONNX models, for tables and for deployment alike.

| module | what it does |
| --- | --- |
| `export` | writes torch modules as ONNX files; alone calls torch's exporter |
| `precision`, `int8`, `best_int8`, `half_precision` | the same models in fewer bits |
| `chain`, `mixed_int8` | a network's blocks, and the same network with some of them in int8 |
| `pixels` | preprocessing and softmax inside the graph |
| `boxes`, `box_limits` | decoding and non-maximum suppression inside the graph of a detector |
| `session` | runs a model in ONNX Runtime on this machine |
| `parity`, `torch_parity`, `box_parity` | tell whether two models compute the same, or find the same boxes |
| `memory` | tells what a graph takes while it runs |
| `binding` | fixes the dimensions that a model leaves free |
| `image_size` | tells squares from other images |
| `to_torch` | torch modules that compute what ONNX classifiers compute, to be trained further |
| `fused_graph`, `kernels` | graphs as runtimes optimise them, cut into operators, and what their time depends on |
| `external_data` | weights that lie in files beside the model |

It knows neither search spaces nor devices. Whoever needs those, such as the export of a block, calls it from above.
"""
