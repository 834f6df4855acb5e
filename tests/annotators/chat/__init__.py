"""Tests of the chat experts, and the scripted server that they talk to."""
