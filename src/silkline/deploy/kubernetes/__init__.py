"""The targets `kubernetes` and `helm`: one description of the objects, written in two forms.

`objects` lists the objects of a deployment, `api` and `custom` have their types. What users of the
chart may change is a `nodes.Value`; `writer` writes it as its default in a manifest, and as an
expression in a template of the chart.
"""
