"""What a model is: sizes, names of tensors, variants, found out from a checkpoint or given."""
