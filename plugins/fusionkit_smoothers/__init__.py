"""Temporal smoothers."""
