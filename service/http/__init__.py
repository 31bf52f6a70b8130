"""HTTP without a web framework: negotiation, problem documents, response models."""
