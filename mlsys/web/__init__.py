"""The pages that people look at, rendered on the server from what the API's own use cases answer. Nothing from outside is loaded."""
