"""Tables and plots of a fitted model: one HTML file without outside links.

`_content` holds what a report says, `_plots` draws, `_sections` and `_page` make the HTML, `_html` escapes, `_write`
gathers and saves.
"""

from ._write import fit_content, save_content, write_report

__all__ = ["fit_content", "save_content", "write_report"]
