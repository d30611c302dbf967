"""Policies: a frozen backbone, a connector, a fusion and a trained action head."""
