"""The table: one module for each kind of attack, one line for each input."""

from security.inputs import addresses, archives, artifacts, fields, paths, requests, texts, tokens, uploads

_MODULES = (paths, fields, texts, addresses, uploads, requests, artifacts, archives, tokens)
TABLE = [row for module in _MODULES for row in module.ROWS]
