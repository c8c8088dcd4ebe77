"""What happened: kinds, event types, subscriptions, and the values of the log. Pure."""
