"""The contract between export and runtime: what a bundle holds, and the names in its graphs."""
