"""Nasty image files, built by code: what each kind of them is made of. `encode.nasty` puts them together."""
