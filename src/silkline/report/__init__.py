"""The report kit: what every HTML report is made of. It knows no other room.

A report is a package with two files and one call. `page.html.jinja` extends `base.html.jinja` and
fills the blocks `header`, `main` and `footer`; `page.css` adds what the shared style sheet lacks;
`page.render` puts them together. Every page is one file that refers to nothing outside.

- `page`: `render`, with the title, the command's name and the template's values
- `parts.html.jinja`: macros for tiles, tables, figures, raw data and the badges of A and B
- `plot`: `Plot`, a figure with its legend and the values under the pointer
- `svg`: scales and a frame to draw a plot in; the interval of a difference
- `numbers`: how figures are written; they are filters in templates, too
"""
