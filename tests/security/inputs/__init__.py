"""The table: one module for each kind of attack, one line for each input."""

from security.inputs import addresses, archives, artifacts, fields, paths, requests, texts, tokens, uploads

TABLE = [
    *paths.ROWS,
    *fields.ROWS,
    *texts.ROWS,
    *addresses.ROWS,
    *uploads.ROWS,
    *requests.ROWS,
    *tokens.ROWS,
    *artifacts.ROWS,
    *archives.ROWS,
]
