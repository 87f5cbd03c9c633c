"""Who may do what: users in a file of their own, rights per share, sign-in."""
