"""Images that were encoded before: folders of `opticnerve encode`, read again."""
