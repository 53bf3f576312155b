"""Who may call: access tokens, the sessions of browsers, and what each caller is allowed. What HTTP is, is not known here."""
