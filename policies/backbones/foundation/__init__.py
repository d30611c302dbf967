"""Foundation models with a checkpoint of their own, one file a family."""
