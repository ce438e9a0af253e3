"""What users write and what we write back: annotations, labels, conditions, and Kubernetes objects as narrow structs.

Belongs here: names and shapes, each with its one defining file, and how a shape becomes a CustomResourceDefinition.
Does not belong here: any decision, any IO. Called by every room above.
"""
