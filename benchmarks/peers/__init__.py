"""Other servers, set up to do the same work as ours."""
