"""Who asks: credentials, the cookie that stands for one, and the origins it may come from."""
