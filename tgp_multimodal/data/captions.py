"""Captions as they are stored and read: one spelling for learning and for drawing."""

import html

import ftfy


def clean(caption: str) -> str:
    """A caption as the stock pipeline cleans prompts: mojibake mended, entities read, stripped.

    Curly quotes become straight ones, so that a prompt typed on a keyboard finds the same tokens.
    """
    return html.unescape(html.unescape(ftfy.fix_text(caption))).strip()
