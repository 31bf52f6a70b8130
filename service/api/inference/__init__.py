"""Routes of the Open Inference Protocol: operations are models, strategies are versions."""
