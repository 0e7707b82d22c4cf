"""Figures of papers: what names lead to, the kinds that there are, and drawing them; nothing loads torch."""
