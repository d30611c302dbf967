"""PPO on the tasks: the command, the trainer, the policy that plays."""
