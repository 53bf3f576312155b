"""The pages that people look at, rendered here on the server from the answers of the API's own use cases. Nothing from outside is loaded."""
