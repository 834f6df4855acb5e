"""Experts behind an OpenAI-compatible chat endpoint or a local chat model: rewrite, enrich, box, verify."""
